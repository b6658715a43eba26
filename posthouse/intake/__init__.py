"""Accepting mail: validate, idempotency, group commit."""
