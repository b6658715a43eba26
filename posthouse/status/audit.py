"""Three ledgers compared: what a client was promised, what the database says, and what arrived.

The oracle of every kill test. It knows nothing of how mail is sent: a mail is lost when it was promised and
neither arrived, nor ended with a reason, nor is still on its way; a repeat is explained only by what the
timeline of the earlier attempt says (RFC 1047's window, a soft bounce, a deferral).
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import pairwise
from typing import TypeAlias, assert_never
from uuid import UUID

from posthouse.domain.job import OPEN_STATES, Status

#: A job id as its 16 bytes: a million of them are held in memory.
Key: TypeAlias = bytes

EXAMPLES = 20  # ids shown for each kind of finding


class Finding(StrEnum):
    """What the three ledgers may disagree about. Each is a failure."""

    LOST = "lost"
    DUPLICATE = "unexplained_duplicates"
    NOT_ARRIVED = "sent_but_not_arrived"
    FOREIGN = "arrived_but_unknown"
    NO_REASON = "ended_without_reason"
    KEY_TWICE = "keys_answered_twice"
    LEAKED = "sandboxed_but_arrived"


@dataclass(frozen=True, slots=True)
class Promises:
    """What the client holds: the recipients of every 2xx."""

    recipients: frozenset[Key]
    answers: int  # lines of the client's ledger
    keys_answered_twice: tuple[str, ...] = ()  # one idempotency key, two different messages


@dataclass(frozen=True, slots=True)
class Arrivals:
    """What the far end took: the attempts of each job in the order in which they came."""

    attempts: Mapping[Key, Sequence[int]]
    mails: int
    unreadable: tuple[str, ...] = ()  # mails that carry no job id of ours


@dataclass(frozen=True, slots=True)
class Known:
    """What the database says of one job."""

    status: Status
    explained: frozenset[int] = frozenset()  # attempts after which the timeline allows another
    refused_at_handover: bool = False  # a relay refused the address: nothing arrived, rightly
    reasoned: bool = True  # an end has its reason in words
    sandboxed: bool = False  # a test key's: it may not arrive, whatever it says


@dataclass(frozen=True, slots=True)
class Found:
    count: int
    examples: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Comparison:
    promised: int
    mails: int
    arrived: int  # jobs that arrived at least once
    jobs: int  # in the database
    pending: int  # promised, not arrived, still on their way
    explained_repeats: int
    by_status: Mapping[Status, int]  # of what was promised
    findings: Mapping[Finding, Found]

    def count(self, finding: Finding) -> int:
        return self.findings[finding].count

    @property
    def clean(self) -> bool:
        return not any(found.count for found in self.findings.values())


def compare(
    promises: Promises, arrivals: Arrivals, jobs: Mapping[Key, Known], *, settled: bool
) -> Comparison:
    """Everything the ledgers disagree about. `settled`: nothing should be under way any more, so what is
    still pending is lost. Linear in what it is given."""
    repeats = list(_repeats(arrivals, jobs))
    return Comparison(
        promised=len(promises.recipients),
        mails=arrivals.mails,
        arrived=len(arrivals.attempts),
        jobs=len(jobs),
        pending=sum(1 for key in promises.recipients if _is_pending(key, arrivals, jobs)),
        explained_repeats=sum(1 for _, explained in repeats if explained),
        by_status=Counter(jobs[key].status for key in promises.recipients if key in jobs),
        findings={
            Finding.LOST: _found(_lost(promises, arrivals, jobs, settled=settled)),
            Finding.DUPLICATE: _found(key for key, explained in repeats if not explained),
            Finding.NOT_ARRIVED: _found(_sent_but_not_arrived(arrivals, jobs)),
            Finding.FOREIGN: _found_words(_arrived_but_unknown(arrivals, jobs)),
            Finding.NO_REASON: _found(key for key, known in jobs.items() if not known.reasoned),
            Finding.KEY_TWICE: _found_words(promises.keys_answered_twice),
            Finding.LEAKED: _found(key for key in arrivals.attempts if key in jobs and jobs[key].sandboxed),
        },
    )


def _lost(
    promises: Promises, arrivals: Arrivals, jobs: Mapping[Key, Known], *, settled: bool
) -> Iterator[Key]:
    for key in promises.recipients:
        known = jobs.get(key)
        # Arrived or not: what the database has forgotten can be answered for no more.
        if known is None or (key not in arrivals.attempts and _is_missed(known, settled=settled)):
            yield key


def _is_missed(known: Known, *, settled: bool) -> bool:
    """Whether a job in this state should have arrived."""
    match known.status:
        case Status.SENT | Status.DELIVERED:
            return not known.sandboxed
        case Status.BOUNCED:
            return not (known.refused_at_handover or known.sandboxed)
        case Status.FAILED | Status.SUPPRESSED | Status.CANCELLED | Status.EXPIRED:
            return False
        case Status.PENDING | Status.QUEUED | Status.SENDING | Status.UNKNOWN:
            return settled
        case _:
            assert_never(known.status)


def _is_pending(key: Key, arrivals: Arrivals, jobs: Mapping[Key, Known]) -> bool:
    known = jobs.get(key)
    return known is not None and known.status in OPEN_STATES and key not in arrivals.attempts


def _sent_but_not_arrived(arrivals: Arrivals, jobs: Mapping[Key, Known]) -> Iterator[Key]:
    """Of all jobs, not only the promised ones: a commit whose 2xx was cut off is mail all the same."""
    for key, known in jobs.items():
        if (
            known.status not in OPEN_STATES
            and key not in arrivals.attempts
            and _is_missed(known, settled=True)
        ):
            yield key


def _arrived_but_unknown(arrivals: Arrivals, jobs: Mapping[Key, Known]) -> Iterator[str]:
    yield from arrivals.unreadable
    yield from (str(UUID(bytes=key)) for key in arrivals.attempts if key not in jobs)


def _repeats(arrivals: Arrivals, jobs: Mapping[Key, Known]) -> Iterator[tuple[Key, bool]]:
    """Every arrival of a job after its first, and whether the attempt before it explains it.

    An attempt that arrives twice is never explained: each hand-over has an attempt of its own.
    """
    for key, attempts in arrivals.attempts.items():
        if len(attempts) < 2:
            continue
        known = jobs.get(key)
        explained = frozenset[int]() if known is None else known.explained
        for earlier, later in pairwise(sorted(attempts)):
            yield key, earlier != later and earlier in explained


def _found(keys: Iterable[Key]) -> Found:
    return _found_words(str(UUID(bytes=key)) for key in keys)


def _found_words(words: Iterable[str]) -> Found:
    count, examples = 0, list[str]()
    for word in words:
        count += 1
        if len(examples) < EXAMPLES:
            examples.append(word)
    return Found(count, tuple(examples))
