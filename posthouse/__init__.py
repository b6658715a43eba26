"""Posthouse: a self-hosted e-mail delivery service."""
