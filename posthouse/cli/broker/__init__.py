"""A Kafka broker of one node on this machine, for tests, demos and development only."""
