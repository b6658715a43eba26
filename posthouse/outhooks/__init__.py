"""Webhooks to the applications whose mail this is: the events they want, signed, repeated until taken."""
