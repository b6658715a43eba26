"""forgery: genuine callbacks, changed in one place each. None is taken, and nothing is fetched for any."""

import random
import sys
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, replace
from typing import Protocol

from bench.forgery_vendors import VENDORS
from posthouse.bus.port import CallbackBatch
from posthouse.ingest.receive import Received, Receiver
from posthouse.relays.base import CallbackReader, RawCallback

MUTANTS = 10_000  # of each relay
GENUINE = 20


class Vendor(Protocol):
    """A reader, and its relay's side that can sign."""

    reader: CallbackReader

    @property
    def headers(self) -> Sequence[str]:
        """What the signature, or the secret, covers beside the body."""
        ...

    @property
    def covers_body(self) -> bool:
        """Whether it covers the body: alone, or by a token that is good for one body."""
        ...

    def genuine(self, serial: int) -> RawCallback: ...


@dataclass(frozen=True, slots=True)
class Result:
    mutants: int
    refused: Mapping[Received, int]
    taken: Sequence[RawCallback]  # forgeries that the door let in: there must be none
    network: int  # names looked up and connections begun meanwhile


async def bench() -> list[dict[str, object]]:
    lines: list[dict[str, object]] = []
    for name, make in VENDORS.items():
        result = await forge(make(), MUTANTS, seed=1)
        refused = {received.name.lower(): n for received, n in result.refused.items()}
        lines.append(
            {
                "bench": "forgery",
                "relay": name,
                "mutants": result.mutants,
                "refused": refused,
                "taken": len(result.taken),
                "network": result.network,
            }
        )
    return lines


async def forge(vendor: Vendor, mutants: int, *, seed: int) -> Result:
    """Genuine callbacks first, which are taken, then as many forgeries made of them."""
    rng = random.Random(seed)
    log = _Log()
    door = Receiver({(vendor.reader.relay, vendor.reader.account): vendor.reader}, log)
    genuine = [vendor.genuine(serial) for serial in range(GENUINE)]
    for callback in genuine:
        assert await door.receive(callback) is Received.STORED, "the genuine ones must pass"
    _WATCH.begin()
    refused: Counter[Received] = Counter()
    taken: list[RawCallback] = []
    for _ in range(mutants):
        forged = _mutant(rng, vendor, genuine)
        received = await door.receive(forged)
        if received is Received.STORED:
            taken.append(forged)
        else:
            refused[received] += 1
    return Result(mutants, refused, taken, _WATCH.end())


def _mutant(rng: random.Random, vendor: Vendor, genuine: Sequence[RawCallback]) -> RawCallback:
    """One callback that the relay never sent, nearly like one that it did."""
    known = {(callback.body, tuple(sorted(callback.headers.items()))) for callback in genuine}
    while True:
        one, other = rng.sample(genuine, 2)
        changed = rng.choice(_changes(vendor))(rng, vendor, one, other)
        if (changed.body, tuple(sorted(changed.headers.items()))) not in known:
            return changed


_Change = Callable[[random.Random, Vendor, RawCallback, RawCallback], RawCallback]


def _changes(vendor: Vendor) -> Sequence[_Change]:
    of_headers = [_other_header, _bent_header, _without_header] if vendor.headers else []
    return [*of_headers, *([_bent_body, _spliced_body] if vendor.covers_body else [])]


def _other_header(rng: random.Random, vendor: Vendor, one: RawCallback, other: RawCallback) -> RawCallback:
    """One of its headers is another callback's; or, where they are all alike, cut short."""
    name = rng.choice(vendor.headers)
    value = other.headers[name]
    return _with(one, name, value if value != one.headers[name] else value[: rng.randrange(len(value))])


def _bent_header(rng: random.Random, vendor: Vendor, one: RawCallback, other: RawCallback) -> RawCallback:
    name = rng.choice(vendor.headers)
    return _with(one, name, _bent(rng, one.headers[name].encode()).decode("latin-1"))


def _without_header(rng: random.Random, vendor: Vendor, one: RawCallback, other: RawCallback) -> RawCallback:
    gone = rng.choice(vendor.headers)
    return replace(one, headers={name: value for name, value in one.headers.items() if name != gone})


def _bent_body(rng: random.Random, vendor: Vendor, one: RawCallback, other: RawCallback) -> RawCallback:
    return replace(one, body=_bent(rng, one.body))


def _spliced_body(rng: random.Random, vendor: Vendor, one: RawCallback, other: RawCallback) -> RawCallback:
    """The beginning of one and the end of another: a signature that stands in the body gets other events."""
    at = rng.randrange(1, min(len(one.body), len(other.body)))
    return replace(one, body=one.body[:at] + other.body[at:])


def _with(callback: RawCallback, name: str, value: str) -> RawCallback:
    return replace(callback, headers={**callback.headers, name: value})


def _bent(rng: random.Random, data: bytes) -> bytes:
    """One bit, one byte, or one piece is not as it was."""
    at = rng.randrange(len(data))
    match rng.randrange(6):
        case 0:
            return data[:at] + bytes([data[at] ^ (1 << rng.randrange(8))]) + data[at + 1 :]
        case 1:
            return data[:at] + data[at + 1 :]
        case 2:
            return data[:at] + rng.randbytes(1) + data[at:]
        case 3:
            return data[:at]
        case 4:
            return data + rng.choice([b" ", b"\n", b"\0", b"}", data])
        case _:
            until = rng.randrange(at, len(data)) + 1
            return data[:at] + data[at:until][::-1] + data[until:]


class _Log:
    """Where what passed would be stored."""

    async def append(self, callbacks: Sequence[RawCallback]) -> None:
        return

    def read(self, limit: int) -> AbstractAsyncContextManager[CallbackBatch]:
        raise NotImplementedError

    async def wait(self, timeout: float) -> None:
        raise NotImplementedError


class _Watch:
    """Counts what this process does on the network. An audit hook cannot be taken away, so there is one."""

    def __init__(self) -> None:
        self._seen = 0
        self._began = 0
        self._hooked = False

    def begin(self) -> None:
        if not self._hooked:
            sys.addaudithook(self._note)
            self._hooked = True
        self._began = self._seen

    def end(self) -> int:
        return self._seen - self._began

    def _note(self, event: str, _: tuple[object, ...]) -> None:
        if event in ("socket.connect", "socket.getaddrinfo", "socket.gethostbyname"):
            self._seen += 1


_WATCH = _Watch()
