"""Postmark: /email and /email/batch out, webhooks with a password back."""

from posthouse.relays.postmark.callbacks import PostmarkCallbacks, PostmarkSecrets
from posthouse.relays.postmark.sender import PostmarkAccount, PostmarkRelay

__all__ = ["PostmarkAccount", "PostmarkCallbacks", "PostmarkRelay", "PostmarkSecrets"]
