"""The way out to the network: one guarded HTTP client."""
