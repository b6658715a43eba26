"""What a mail is made from when it is not a template."""

from dataclasses import dataclass

from posthouse.domain.message import Attachment


@dataclass(frozen=True, slots=True)
class Content:
    """A mail's own bodies, posted by the client. They are data: no engine ever evaluates them."""

    html: str | None
    text: str | None
    attachments: tuple[Attachment, ...] = ()
