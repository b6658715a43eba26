"""Postmark: /email and /email/batch out, webhooks with a password back."""

from posthouse.relays.postmark.sender import PostmarkAccount, PostmarkRelay

__all__ = ["PostmarkAccount", "PostmarkRelay"]
