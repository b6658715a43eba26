"""The lists of Mailgun, Postmark, SendGrid and SES under the laws of a relay's own list; and what is the
vendor's own."""

from collections.abc import AsyncIterator
from datetime import date
from pathlib import Path

import msgspec
import pytest
from fake_http_relay import Request
from list_laws import ListHarness, ListLaws, Rude, keys, on_list, read
from simulated_lists import mailgun_lists, postmark_lists, sendgrid_lists, ses_lists

from posthouse.domain.errors import NotNow
from posthouse.domain.suppression import SuppressionReason
from posthouse.relays.lists import PAGE_BYTES


class TestMailgunList(ListLaws):
    @pytest.fixture
    async def harness(self, tmp_path: Path) -> AsyncIterator[ListHarness]:
        async with mailgun_lists(tmp_path) as harness:
            yield harness


class TestPostmarkList(ListLaws):
    @pytest.fixture
    async def harness(self, tmp_path: Path) -> AsyncIterator[ListHarness]:
        async with postmark_lists(tmp_path) as harness:
            yield harness


class TestSendGridList(ListLaws):
    @pytest.fixture
    async def harness(self, tmp_path: Path) -> AsyncIterator[ListHarness]:
        async with sendgrid_lists(tmp_path) as harness:
            yield harness


class TestSesList(ListLaws):
    @pytest.fixture
    async def harness(self, tmp_path: Path) -> AsyncIterator[ListHarness]:
        async with ses_lists(tmp_path) as harness:
            yield harness


async def test_mailguns_links_are_followed_only_to_the_same_list(tmp_path: Path) -> None:
    """The next page would be asked for with the account's key."""
    elsewhere, server = Rude(b'{"items": []}'), Rude()
    await elsewhere.start()
    await server.start()
    link = f"http://{elsewhere.address}/v3/mail.shop.example/bounces?page=next"
    server.body = msgspec.json.encode({"items": [{"address": "a@b.example"}], "paging": {"next": link}})
    async with mailgun_lists(tmp_path) as harness:
        suppressions = harness.suppressions(server.address)
        with pytest.raises(NotNow, match="somewhere else"):
            await read(suppressions)
        await suppressions.close()
    assert elsewhere.requests == []
    await elsewhere.close()
    await server.close()


class CrowdedDays(Rude):
    """A Postmark of which an answer can hold two entries."""

    def answer(self, request: Request) -> bytes:
        query = dict(part.split("=") for part in request.lines[0].split(" ")[1].partition("?")[2].split("&"))
        first, last = date.fromisoformat(query["fromdate"]), date.fromisoformat(query["todate"])
        days = [day for day in (date(2026, 1, number) for number in (2, 3, 9)) if first <= day <= last]
        if len(days) > 2:
            return b"x" * PAGE_BYTES
        return msgspec.json.encode(
            {
                "Suppressions": [
                    {"EmailAddress": f"d{day.day}@b.example", "SuppressionReason": "HardBounce"}
                    for day in days
                ]
            }
        )


async def test_a_postmark_list_that_is_too_long_is_read_by_days(tmp_path: Path) -> None:
    server = CrowdedDays()
    await server.start()
    async with postmark_lists(tmp_path) as harness:
        suppressions = harness.suppressions(server.address)
        bounce = SuppressionReason.BOUNCE
        assert keys(await read(suppressions)) == {(f"d{day}@b.example", bounce) for day in (2, 3, 9)}
        await suppressions.close()
    await server.close()


async def test_an_address_goes_from_both_of_sendgrids_lists_of_dead_ones(tmp_path: Path) -> None:
    async with sendgrid_lists(tmp_path) as harness:
        await harness.mail("hard-ann@gmail.sim.test")
        suppressions = harness.suppressions()
        assert len(await read(suppressions)) == 1
        await suppressions.remove([on_list("hard-ann@gmail.sim.test", SuppressionReason.BOUNCE)])
        assert await read(suppressions) == []
        await suppressions.close()
