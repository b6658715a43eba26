"""PostgreSQL, and nothing else: the only place that holds SQL."""
