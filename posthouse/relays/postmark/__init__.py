"""Postmark: /email and /email/batch out, webhooks with a password back, its outbound search to be asked."""

from posthouse.relays.postmark.account import PostmarkAccount
from posthouse.relays.postmark.callbacks import PostmarkCallbacks, PostmarkSecrets
from posthouse.relays.postmark.inquiry import PostmarkInquirer
from posthouse.relays.postmark.sender import PostmarkRelay

__all__ = ["PostmarkAccount", "PostmarkCallbacks", "PostmarkInquirer", "PostmarkRelay", "PostmarkSecrets"]
