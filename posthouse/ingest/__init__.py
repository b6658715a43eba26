"""What comes back from relays: receive, verify, normalise."""
