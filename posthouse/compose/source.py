"""What a mail is made from: a template's version or bodies of its own, and the files that go with it."""

from dataclasses import dataclass

import msgspec
from msgspec import Struct

from posthouse.domain.message import Rendered, StoredFile
from posthouse.domain.template import TemplateVersion


@dataclass(frozen=True, slots=True)
class Content:
    """A mail's own bodies, posted by the client. They are data: no engine ever evaluates them."""

    html: str | None
    text: str | None


class Found(Struct, frozen=True):
    """What a mail is made from: its words, and the names of the files that go with them."""

    words: TemplateVersion | Content
    files: tuple[StoredFile, ...]

    def with_files(self, mail: Rendered) -> Rendered:
        """The files by name only; their bytes are loaded when the mail is handed over."""
        return msgspec.structs.replace(mail, files=self.files)
