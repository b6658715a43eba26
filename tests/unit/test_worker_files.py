"""The bytes of files: within their room, in the order of their coming, and nobody waits for long."""

import asyncio
from collections.abc import Collection
from dataclasses import replace
from datetime import date

import msgspec
import pytest
from worker_jobs import claimed_job, rendered

from posthouse.domain.errors import NotNow, RenderFailed
from posthouse.domain.ids import AttachmentId, attachment_id
from posthouse.domain.message import Attachment, Disposition, Rendered, StoredFile
from posthouse.worker.files import Files

PATIENCE = 10.0
FOR_EVER = 60.0


def file(number: int, size: int = 10) -> StoredFile:
    return StoredFile(f"{number}.pdf", "application/pdf", attachment_id(date(2026, 1, 1), number), size)


def mail(*files: StoredFile) -> Rendered:
    return msgspec.structs.replace(rendered(claimed_job(1)), files=files)


class Store:
    """Every file is there, with its number as its content, but those that were lost."""

    def __init__(self) -> None:
        self.asked: list[set[AttachmentId]] = []
        self.lost: set[AttachmentId] = set()
        self.answers = asyncio.Event()
        self.answers.set()
        self.away = False

    async def __call__(self, ids: Collection[AttachmentId]) -> dict[AttachmentId, bytes]:
        self.asked.append(set(ids))
        await self.answers.wait()
        if self.away:
            raise NotNow("away")
        return {one: one.bytes for one in ids if one not in self.lost}


async def test_mails_get_their_files_and_the_room_is_given_back() -> None:
    store, one, two = Store(), file(1), replace(file(2), content_id="x", disposition=Disposition.INLINE)
    files = Files(store, 100)
    loaded = await files.load([mail(one, two), mail(one)])
    with loaded:
        first, second = loaded.mails
        assert files.held == 30  # a file goes into each of its mails
    assert files.held == 0
    assert store.asked == [{one.attachment_id, two.attachment_id}]
    assert isinstance(first, Rendered)
    assert isinstance(second, Rendered)
    assert first.attachments == (
        Attachment("1.pdf", "application/pdf", one.attachment_id.bytes),
        Attachment("2.pdf", "application/pdf", two.attachment_id.bytes, "x", Disposition.INLINE),
    )
    assert second.attachments == first.attachments[:1]
    assert (first.files, second.files) == ((), ())


async def test_a_mail_whose_file_is_gone_says_so_and_the_others_go() -> None:
    store = Store()
    store.lost = {file(2).attachment_id}
    loaded = await Files(store, 100).load([mail(file(1)), mail(file(2))])
    good, broken = loaded.mails
    assert isinstance(good, Rendered)
    assert isinstance(broken, RenderFailed)
    assert "2.pdf is not there any more" in broken.message


async def test_a_mail_larger_than_all_the_room_goes_alone() -> None:
    files = Files(Store(), 100, patience=0.05)
    with await files.load([mail(file(1, 1_000))]):
        assert files.held == 100
        with pytest.raises(NotNow, match="no room"):
            await files.load([mail(file(2))])


async def test_room_is_given_in_the_order_of_asking() -> None:
    """A large one that waits is not overtaken by small ones for which there would be room."""
    files = Files(Store(), 100, patience=FOR_EVER)
    order: list[str] = []

    async def ask(name: str, size: int) -> None:
        with await files.load([mail(file(1, size))]):
            order.append(name)

    async with asyncio.timeout(PATIENCE):
        with await files.load([mail(file(1, 60))]):
            asking = [asyncio.create_task(ask("large", 90)), asyncio.create_task(ask("small", 10))]
            for _ in range(10):
                await asyncio.sleep(0)
            assert order == []
        await asyncio.gather(*asking)
    assert order == ["large", "small"]
    assert files.held == 0


async def test_a_database_that_does_not_answer_is_waited_for_no_longer_than_room_is() -> None:
    store = Store()
    store.answers.clear()
    files = Files(store, 100, patience=0.05)
    async with asyncio.timeout(PATIENCE):
        with pytest.raises(NotNow, match="did not come in time"):
            await files.load([mail(file(1))])
    assert files.held == 0


async def test_an_outage_gives_the_room_back() -> None:
    store = Store()
    store.away = True
    files = Files(store, 100)
    with pytest.raises(NotNow):
        await files.load([mail(file(1))])
    assert files.held == 0


async def test_one_that_is_called_off_while_it_waits_takes_no_room() -> None:
    files = Files(Store(), 100, patience=FOR_EVER)
    with await files.load([mail(file(1, 100))]):
        waiting = asyncio.create_task(files.load([mail(file(2, 50))]))
        await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.wait({waiting})
    assert files.held == 0
    with await files.load([mail(file(3, 100))]):
        pass
