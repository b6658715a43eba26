"""The account name under which bounce mails come back, as relays' webhooks do under theirs."""

from typing import Final

from posthouse.domain.ids import RelayAccount

#: The kind, as in /hooks/{relay}; nobody may post there in its name.
INBOUND: Final = "inbound"
#: What timelines and the inbox name as the relay. No [relays.*] table may have this name.
INBOUND_ACCOUNT: Final = RelayAccount("inbound")

#: Headers of a stored bounce mail: the address it came to, and when (ISO 8601).
RECIPIENT_HEADER: Final = "rcpt-to"
RECEIVED_HEADER: Final = "received-at"
