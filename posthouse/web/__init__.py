"""What the outside calls: the API, relays' webhooks, tracking."""
