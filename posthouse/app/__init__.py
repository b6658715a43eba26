"""Composition root: the only place that names concrete adapters (DESIGN.md section 6)."""
