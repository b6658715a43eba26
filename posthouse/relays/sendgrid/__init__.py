"""SendGrid v3: mail/send out, the signed Event Webhook back."""

from posthouse.relays.sendgrid.callbacks import SendGridCallbacks
from posthouse.relays.sendgrid.sender import SendGridAccount, SendGridRelay

__all__ = ["SendGridAccount", "SendGridCallbacks", "SendGridRelay"]
