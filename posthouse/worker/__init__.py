"""The loop that takes jobs, composes, hands over and records."""
