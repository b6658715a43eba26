"""What a worker and its render process say to each other: MessagePack after a four-byte length."""

from typing import Final

import msgspec

HEADER_BYTES: Final = 4
READY: Final = b"\x01"
#: What the kernel lets one request use; beyond the parent's deadline, for a child whose parent died.
CPU_SECONDS: Final = 2


class Part(msgspec.Struct, frozen=True):
    """One template to render; its name's ending decides the escaping."""

    name: str
    source: str


class RenderRequest(msgspec.Struct, frozen=True):
    parts: tuple[Part, ...]
    variables: bytes  # a JSON object
    output_bytes: int


class RenderAnswer(msgspec.Struct, frozen=True):
    """The rendered parts, or why there are none."""

    texts: tuple[str, ...] = ()
    error: str = ""
    code: str = ""
    too_expensive: bool = False
