"""Mailgun v3: messages.mime out, signed webhooks back, the Events API for mail in doubt."""

from posthouse.relays.mailgun.inquiry import MailgunInquirer, MailgunQuestions
from posthouse.relays.mailgun.sender import MailgunAccount, MailgunRelay

__all__ = ["MailgunAccount", "MailgunInquirer", "MailgunQuestions", "MailgunRelay"]
