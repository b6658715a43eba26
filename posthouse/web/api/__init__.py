"""The HTTP API under /v1, one file for each kind of thing."""
