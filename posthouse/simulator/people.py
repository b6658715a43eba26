"""People and machines who handle mail that arrived: what each means to do, when, and what came of it."""

import asyncio
import heapq
from dataclasses import dataclass, field
from typing import TypeAlias
from urllib.parse import urljoin

from posthouse.simulator.chance import between, draw
from posthouse.simulator.events import EventKind, EventLog, MailRef, Stage
from posthouse.simulator.letter import Reading, find_form
from posthouse.simulator.loopback import LoopbackBrowser, OffMachineError, Page, VisitFailedError
from posthouse.simulator.providers import Delays, Machine, Person, Reader

PREFETCHER_AGENT = "Mozilla/5.0"  # Apple Mail Privacy Protection says exactly this
SCANNER_AGENT = (
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Mimecast Safari/537.36"
)
_ONE_CLICK_FORM = (("List-Unsubscribe", "One-Click"),)


@dataclass(frozen=True, slots=True)
class LoadImages:
    kind: EventKind
    urls: tuple[str, ...]
    agent: str


@dataclass(frozen=True, slots=True)
class FollowLink:
    """GET; right when the answer is a redirect. Its target is not followed."""

    kind: EventKind
    url: str
    agent: str


@dataclass(frozen=True, slots=True)
class LookAtPage:
    """GET, and nothing more: what a scanner does with an unsubscribe link. It must have no effect."""

    url: str
    agent: str


@dataclass(frozen=True, slots=True)
class OneClick:
    """RFC 8058: POST; right when the answer is 2xx, and no redirect."""

    url: str
    agent: str


@dataclass(frozen=True, slots=True)
class PressButton:
    """GET the unsubscribe page, then POST its form."""

    url: str
    agent: str


@dataclass(frozen=True, slots=True)
class ReportSpam:
    """Nothing on the web: the provider tells the relay."""


Visit: TypeAlias = LoadImages | FollowLink | LookAtPage | OneClick | PressButton
Action: TypeAlias = Visit | ReportSpam


@dataclass(frozen=True, slots=True)
class Intent:
    """`after`: seconds of the simulated world since the mail arrived."""

    after: float
    action: Action


def intents(
    reader: Reader, reading: Reading, delays: Delays, seed: int, what: tuple[str, str]
) -> list[Intent]:
    """What the reader of a mail and the machines before him will do with what is in it.

    Nobody can do what the mail does not offer: no image, no open that anyone could see.
    """

    def when(step: str, bounds: tuple[float, float]) -> float:
        return between(bounds, draw(seed, step, *what))

    plan: list[Intent] = []
    if Machine.PREFETCHER in reader.machines and reading.images:
        load = LoadImages(EventKind.MACHINE_OPEN, reading.images, PREFETCHER_AGENT)
        plan.append(Intent(when("prefetched", delays.prefetched), load))
    if Machine.SCANNER in reader.machines:
        plan += _scan(reading, when("scanned", delays.scanned))
    if reader.person is Person.IGNORES:
        return plan
    opened = when("opened", delays.opened)
    if reading.images:
        plan.append(Intent(opened, LoadImages(EventKind.HUMAN_OPEN, reading.images, reader.agent)))
    deed = _deed(reader, reading, draw(seed, "which", *what))
    if deed is not None:
        plan.append(Intent(opened + when("acted", delays.acted), deed))
    return plan


def _scan(reading: Reading, after: float) -> list[Intent]:
    clicks: list[Action] = [FollowLink(EventKind.MACHINE_CLICK, url, SCANNER_AGENT) for url in reading.links]
    looks: list[Action] = [LookAtPage(url, SCANNER_AGENT) for url in reading.unsubscribe_links]
    return [Intent(after, action) for action in (*clicks, *looks)]


def _deed(reader: Reader, reading: Reading, which: float) -> Action | None:
    match reader.person:
        case Person.IGNORES | Person.OPENS:
            return None
        case Person.CLICKS:
            if not reading.links:
                return None
            url = reading.links[int(which * len(reading.links))]
            return FollowLink(EventKind.CLICK, url, reader.browser)
        case Person.UNSUBSCRIBES:
            return OneClick(reading.one_click, reader.browser) if reading.one_click else None
        case Person.UNSUBSCRIBES_ON_PAGE:
            links = reading.unsubscribe_links
            return PressButton(links[0], reader.browser) if links else None
        case Person.COMPLAINS:
            return ReportSpam()


def event_of(visit: Visit) -> EventKind | None:
    """The event a visit makes; None for one that must make none."""
    match visit:
        case LoadImages(kind=kind) | FollowLink(kind=kind):
            return kind
        case OneClick() | PressButton():
            return EventKind.UNSUBSCRIBE
        case LookAtPage():
            return None


@dataclass(order=True, slots=True)
class _Due:
    at: float
    seq: int
    ref: MailRef = field(compare=False)
    visit: Visit = field(compare=False)


class Agenda:
    """Everything that people and machines still mean to do, done in time by a few hands."""

    def __init__(self, browser: LoopbackBrowser, events: EventLog, *, hands: int, agenda_max: int) -> None:
        self.left_undone = 0
        self.looks_failed = 0
        self._browser = browser
        self._events = events
        self._hands = asyncio.Semaphore(hands)
        self._agenda_max = agenda_max
        self._due: list[_Due] = []
        self._seq = 0
        self._under_way = 0
        self._earlier = asyncio.Event()

    @property
    def pending(self) -> int:
        return len(self._due) + self._under_way

    def plan(self, ref: MailRef, visit: Visit, at: float) -> None:
        """`at`: on the event loop's clock."""
        if len(self._due) >= self._agenda_max:
            self.left_undone += 1
            return
        kind = event_of(visit)
        if kind is not None:
            self._events.record(kind, Stage.DECIDED, ref)
        self._seq += 1
        heapq.heappush(self._due, _Due(at, self._seq, ref, visit))
        if self._due[0].seq == self._seq:
            self._earlier.set()

    async def run(self) -> None:
        async with asyncio.TaskGroup() as visits:
            while True:
                await self._wait()
                while self._due and self._due[0].at <= asyncio.get_running_loop().time():
                    await self._hands.acquire()
                    due = heapq.heappop(self._due)
                    self._under_way += 1
                    visits.create_task(self._carry_out(due))

    async def _wait(self) -> None:
        self._earlier.clear()
        deadline = self._due[0].at if self._due else None
        try:
            async with asyncio.timeout_at(deadline):
                await self._earlier.wait()
        except TimeoutError:
            return

    async def _carry_out(self, due: _Due) -> None:
        kind = event_of(due.visit)
        try:
            stage, detail = await self._outcome(due.visit)
        finally:
            self._under_way -= 1
            self._hands.release()
        if kind is not None:
            self._events.record(kind, stage, due.ref, detail)
        elif stage is Stage.FAILED:
            self.looks_failed += 1

    async def _outcome(self, visit: Visit) -> tuple[Stage, str]:
        try:
            detail = await perform(self._browser, visit)
        except OffMachineError as error:
            return Stage.REFUSED, str(error)
        except VisitFailedError as error:
            return Stage.FAILED, str(error)
        return (Stage.DONE, "") if detail is None else (Stage.FAILED, detail)


async def perform(browser: LoopbackBrowser, visit: Visit) -> str | None:
    """Does it; None when it was answered as it should be, else what was wrong.

    Raises OffMachineError, VisitFailedError.
    """
    match visit:
        case LoadImages(urls=urls, agent=agent):
            return await _load(browser, urls, agent)
        case FollowLink(url=url, agent=agent):
            page = await browser.get(url, agent)
            return None if page.status in (302, 303) and page.location else _wrong(page)
        case LookAtPage(url=url, agent=agent):
            page = await browser.get(url, agent)
            return None if page.status == 200 else _wrong(page)
        case OneClick(url=url, agent=agent):
            return _expect_2xx(await browser.post(url, agent, _ONE_CLICK_FORM))
        case PressButton(url=url, agent=agent):
            return await _press(browser, url, agent)


async def _load(browser: LoopbackBrowser, urls: tuple[str, ...], agent: str) -> str | None:
    """Images of other machines are left out like blocked ones; it is an open if one of ours was loaded."""
    away: OffMachineError | None = None
    loaded = 0
    for url in urls:
        try:
            page = await browser.get(url, agent)
        except OffMachineError as error:
            away = error
            continue
        if page.status != 200:
            return _wrong(page)
        loaded += 1
    if away is not None and not loaded:
        raise away
    return None


async def _press(browser: LoopbackBrowser, url: str, agent: str) -> str | None:
    page = await browser.get(url, agent)
    if page.status != 200:
        return _wrong(page)
    form = find_form(page.body)
    if form is None:
        return "the page has no form to post"
    try:
        target = urljoin(url, form.action)
    except ValueError:
        return "the form's action is no URL"
    return _expect_2xx(await browser.post(target, agent, form.fields))


def _expect_2xx(page: Page) -> str | None:
    return None if 200 <= page.status < 300 else _wrong(page)


def _wrong(page: Page) -> str:
    return f"answered {page.status}"
