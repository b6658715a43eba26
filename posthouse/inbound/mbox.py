"""An mbox file: mails one after the other, each begun by a line "From " (RFC 4155)."""

import mailbox
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

from posthouse.domain.errors import InvalidInput


def mails_of(path: Path, max_message_bytes: int) -> Iterator[bytes]:
    """Each mail's bytes. Raises InvalidInput for a file that cannot be read."""
    try:
        with closing(mailbox.mbox(path, create=False)) as box:
            for key in box.iterkeys():
                with box.get_file(key) as mail:
                    yield mail.read(max_message_bytes)
    except (OSError, mailbox.Error) as error:
        raise InvalidInput(f"{path} cannot be read as an mbox file: {error}.") from error
