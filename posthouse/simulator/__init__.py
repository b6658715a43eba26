"""Pretend relays and mailbox providers, speaking only HTTP and SMTP to the rest."""
