"""Relays: the services and servers that take our mail. One file per vendor, each knowing only itself."""
