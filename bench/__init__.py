"""Benchmarks: `python -m bench [NAME ...]`. One JSON line each; compare figures of one run only."""
