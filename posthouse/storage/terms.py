"""What mails are looked up by: the terms of table email_term, one spelling for who writes and who asks."""

from typing import Final
from uuid import UUID

from posthouse.domain.ids import AddressKey, TemplateId

#: Of every mail of a test key: few among millions of live ones, and all that such a key may see.
SANDBOX: Final = "s:"


def of_recipient(address: AddressKey) -> str:
    return f"r:{address}"


def of_tag(name: str, value: str) -> str:
    """Names and values have no "=" (intake/posted.py)."""
    return f"t:{name}={value}"


def of_template(template_id: TemplateId) -> str:
    return f"k:{template_id}"


def of_campaign(campaign_id: UUID) -> str:
    return f"c:{campaign_id}"
