"""Composition root: the only place that names concrete adapters (docs/architecture.md)."""
