"""The bytes of attachments: loaded as late as possible, and never more than there is room for."""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Final

import msgspec

from posthouse.domain.errors import NotNow, RenderFailed
from posthouse.domain.ids import AttachmentId
from posthouse.domain.message import Attachment, Rendered
from posthouse.storage import attachments
from posthouse.storage.db import Database

#: Of files that one worker holds at once, whatever number of mails it has claimed. On its way to a relay a
#: file is there as base64, too, and once more with its dots doubled: memory is up to four times this.
FILES_BYTES: Final = 64_000_000
#: Of files in mails that are handed over together: loaded in one statement, given back together.
SET_BYTES: Final = 4_000_000
#: A claimed mail waits no longer for room and for its bytes; then it is given back, and suppression is looked
#: at again.
LOAD_SECONDS: Final = 1.0

Load = Callable[[Collection[AttachmentId]], Awaitable[Mapping[AttachmentId, bytes]]]


@dataclass(frozen=True, slots=True)
class Loaded:
    """Mails with their attachments, in order, or why one cannot be sent. Their room is taken until the `with`
    block ends."""

    mails: Sequence[Rendered | RenderFailed]
    release: Callable[[], None]

    def __enter__(self) -> None:
        return None

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()


class Files:
    """Loads the files of mails within `room` bytes."""

    def __init__(self, load: Load, room: int, *, patience: float = LOAD_SECONDS) -> None:
        self.set_bytes = min(room, SET_BYTES)
        self._load = load
        self._room = room
        self._held = 0
        self._patience = patience
        self._turn = asyncio.Lock()
        self._freed = asyncio.Event()
        self._late: set[asyncio.Task[Mapping[AttachmentId, bytes]]] = set()

    @property
    def held(self) -> int:
        return self._held

    async def load(self, mails: Sequence[Rendered]) -> Loaded:
        """Raises NotNow when there is no room or no database for too long."""
        # A mail larger than all the room has it for itself; it would wait for ever otherwise.
        size = min(self._room, sum(mail.files_size for mail in mails))
        now = asyncio.get_running_loop().time
        end = now() + self._patience
        await self._take(size)
        try:
            wanted = {file.attachment_id for mail in mails for file in mail.files}
            found = await self._loaded(wanted, end - now())
            return Loaded([_with_content(mail, found) for mail in mails], lambda: self._give(size))
        except BaseException:
            self._give(size)
            raise

    async def _take(self, size: int) -> None:
        try:
            async with asyncio.timeout(self._patience), self._turn:
                # In the order of their coming: small ones must not keep a large one waiting for ever.
                while self._held + size > self._room:
                    self._freed.clear()
                    await self._freed.wait()
                self._held += size
        except TimeoutError as error:
            raise NotNow("There is no room for the attachments of this mail now.") from error

    def _give(self, size: int) -> None:
        self._held -= size
        self._freed.set()

    async def _loaded(self, wanted: Collection[AttachmentId], seconds: float) -> Mapping[AttachmentId, bytes]:
        """A task of its own, left behind when it is late: to cancel a statement takes the database, too."""
        loading = asyncio.ensure_future(self._load(wanted))
        self._late.add(loading)
        loading.add_done_callback(self._forget)
        try:
            done, _ = await asyncio.wait({loading}, timeout=max(0.0, seconds))
        finally:
            loading.cancel()  # changes nothing of one that is done
        if not done:
            raise NotNow("The attachments of this mail did not come in time.")
        return loading.result()

    def _forget(self, task: asyncio.Task[Mapping[AttachmentId, bytes]]) -> None:
        self._late.discard(task)
        if not task.cancelled():
            task.exception()  # looked at, so that nobody logs it as lost


async def load_files(db: Database, ids: Collection[AttachmentId]) -> dict[AttachmentId, bytes]:
    """Files by id; those that are not there are left out. Raises NotNow."""
    async with db.session() as session:
        return await attachments.load(session, ids)


def _with_content(mail: Rendered, found: Mapping[AttachmentId, bytes]) -> Rendered | RenderFailed:
    loaded: list[Attachment] = []
    for file in mail.files:
        content = found.get(file.attachment_id)
        if content is None:
            return RenderFailed(f"The attachment {file.filename} is not there any more.")
        loaded.append(file.with_content(content))
    return msgspec.structs.replace(mail, files=(), attachments=tuple(loaded))
