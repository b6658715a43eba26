"""Pure values of the field: no I/O, no vendor names, nothing of ours imported."""
