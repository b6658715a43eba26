"""Group commit: requests that arrive while a commit is under way are stored together by the next one.

A commit costs a flush of the disk however many rows it holds, so under load a group of 100 mails costs
little more than one mail; without load a request is a group of its own and waits for nobody.
"""

import asyncio
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from posthouse.domain.errors import InvalidInput, NotNow
from posthouse.domain.ids import ApiKeyId, ContentId
from posthouse.domain.stream import Stream
from posthouse.failpoints import failpoint
from posthouse.intake.mail import NewMail, OwnContent
from posthouse.intake.rows import Moment, RowMaker, Rows
from posthouse.intake.sandbox import suppressions_wanted
from posthouse.storage import acceptance, recording
from posthouse.storage.acceptance import Books, IdempotencyName, KeyInUse, NewContent, Promise
from posthouse.storage.db import Database, Transaction, TransactionConflict

MAX_GROUP_JOBS = 500
MAX_GROUP_BYTES = 4_000_000  # of bodies and variables
GROUPS_IN_FLIGHT = 3  # while one waits for its flush the next ones are written


@dataclass(frozen=True, slots=True)
class Idempotency:
    """The client's key, and the digest of the body it came with."""

    key: str
    body_hash: bytes


@dataclass(frozen=True, slots=True)
class Submission:
    """One request: a mail that was found good, by whom, and the key under which it may be repeated."""

    api_key_id: ApiKeyId
    mail: NewMail
    idempotency: Idempotency | None = None

    @property
    def name(self) -> IdempotencyName | None:
        return None if self.idempotency is None else IdempotencyName(self.api_key_id, self.idempotency.key)


@dataclass(frozen=True, slots=True)
class Receipt:
    """The answer to a request, byte for byte, and whether it was given before."""

    body: bytes
    replayed: bool = False


Outcome: TypeAlias = Receipt | Exception


@dataclass(slots=True, eq=False)
class _Waiting:
    """A request in a group, and where its outcome is put. Errors are put as values: a client that has hung
    up leaves nobody to retrieve an exception."""

    submission: Submission
    outcome: asyncio.Future[Outcome] = field(
        default_factory=lambda: asyncio.get_running_loop().create_future()
    )

    async def receipt(self) -> Receipt:
        # Shielded: a client that hangs up must not take its neighbours' group along.
        return _returned(await asyncio.shield(self.outcome))

    def settle(self, outcome: Outcome) -> None:
        if not self.outcome.done():
            self.outcome.set_result(outcome)


@dataclass(frozen=True, slots=True)
class _Stored:
    outcomes: list[Outcome]  # of each request, in order
    books: Books


class Intake:
    """Accepts mails: when `accept` returns, the mail is committed.

    `now_ms` reads the database's clock (ms since 1970). `accepted` is told what each commit brought, by
    stream: for hints and metrics, after the commit.
    """

    def __init__(
        self,
        database: Database,
        rows: RowMaker,
        *,
        now_ms: Callable[[], int],
        accepted: Callable[[Stream, int], None],
    ) -> None:
        self._database = database
        self._rows = rows
        self._now_ms = now_ms
        self._accepted = accepted
        self._queue: deque[_Waiting] = deque()
        self._leaders: dict[IdempotencyName, _Waiting] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._committing = 0

    async def accept(self, submission: Submission) -> Receipt:
        """Store a mail and return the answer to it; the stored one if its idempotency key is known.

        Raises InvalidInput for a key that came with another body, KeyInUse, NotNow: the mail may then have
        been stored, if the database went away in the middle of a commit; with an idempotency key it is safe
        to ask again.
        """
        name = submission.name
        if name is None:
            return await self._enter(submission).receipt()
        return await self._accept_once(name, submission)

    async def recall(self, api_key_id: ApiKeyId, idempotency: Idempotency) -> Receipt | None:
        """The answer that was given to the same request before, if there is one. Raises NotNow."""
        name = IdempotencyName(api_key_id, idempotency.key)
        async with self._database.session() as session:
            promise = (await acceptance.stored_answers(session, [name])).get(name)
        if promise is None or promise.body_hash != idempotency.body_hash:
            return None
        return Receipt(promise.response, replayed=True)

    async def drain(self) -> None:
        """Return when every request that was taken has its outcome."""
        while self._tasks:
            await asyncio.wait(self._tasks)

    async def _accept_once(self, name: IdempotencyName, submission: Submission) -> Receipt:
        """Of those that come with one key at one time the first leads: the others get its answer, and it is
        never in two transactions that would wait for each other."""
        leader = self._leaders.get(name)
        while leader is not None:
            outcome = await asyncio.shield(leader.outcome)
            if isinstance(outcome, Receipt):
                return _returned(_repeated(submission, _promise(leader.submission, outcome.body)))
            if isinstance(outcome, NotNow) or leader.submission.idempotency == submission.idempotency:
                raise outcome
            leader = self._leaders.get(name)
        waiting = self._enter(submission)
        self._leaders[name] = waiting
        waiting.outcome.add_done_callback(lambda _: self._leaders.pop(name, None))
        return await waiting.receipt()

    def _enter(self, submission: Submission) -> _Waiting:
        waiting = _Waiting(submission)
        self._queue.append(waiting)
        if self._committing < GROUPS_IN_FLIGHT:
            self._committing += 1
            task = asyncio.create_task(self._commit_groups(), name="intake group")
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        return waiting

    async def _commit_groups(self) -> None:
        try:
            while self._queue:
                await self._commit(_next_group(self._queue))
        finally:
            # In the step that saw the queue empty: a request that comes next finds a committer or starts one.
            self._committing -= 1

    async def _commit(self, group: Sequence[_Waiting]) -> None:
        try:
            stored = await self._store([waiting.submission for waiting in group])
        except (TransactionConflict, KeyInUse) as error:
            await self._commit_apart(group, error)
        except NotNow as error:
            # The commit may have happened: whether to ask again is the client's choice, not ours.
            _settle_all(group, error)
        except Exception as error:
            await self._commit_apart(group, error)
        except BaseException:
            _settle_all(group, NotNow("The house is shutting down; ask again."))
            raise
        else:
            for waiting, outcome in zip(group, stored.outcomes, strict=True):
                waiting.settle(outcome)
            # Nobody has been answered yet: those who wait go on in the loop's next turn.
            failpoint("api.after_commit")
            for stream, count in stored.books.by_stream.items():
                self._accepted(stream, count)

    async def _commit_apart(self, group: Sequence[_Waiting], error: Exception) -> None:
        """The transaction was refused, so nothing is stored: each request for itself, and only the one that
        was at fault has the error."""
        if len(group) == 1:
            _settle_all(group, error)
            return
        for waiting in group:
            await self._commit([waiting])

    async def _store(self, submissions: Sequence[Submission]) -> _Stored:
        moment = Moment(self._now_ms())
        rows = self._rows.make([submission.mail for submission in submissions], moment)
        async with self._database.transaction() as tx:
            earlier = await _claim_keys(tx, submissions, rows)
            new = [r for s, r in zip(submissions, rows, strict=True) if s.name not in earlier]
            books = Books(Counter(job.stream for r in new for job in r.jobs))
            await _insert(tx, new, books, moment)
            failpoint("api.before_commit")
        return _Stored(
            [_outcome(s, r, earlier) for s, r in zip(submissions, rows, strict=True)],
            books,
        )


async def _claim_keys(
    tx: Transaction, submissions: Sequence[Submission], rows: Sequence[Rows]
) -> dict[IdempotencyName, Promise]:
    """The promises made earlier under the keys of these requests; the other keys now stand for them."""
    wanted = {
        submission.name: _promise(submission, r.response)
        for submission, r in zip(submissions, rows, strict=True)
        if submission.name is not None
    }
    if not wanted:
        return {}
    lost = sorted(wanted.keys() - await acceptance.claim_keys(tx, wanted))
    if not lost:
        return {}
    answers = await acceptance.stored_answers(tx, lost)
    if len(answers) < len(lost):
        # It was there a moment ago: its time was over, and it was cleared away in between.
        raise TransactionConflict("An idempotency key ran out at this moment; ask again.")
    return answers


async def _insert(tx: Transaction, rows: Sequence[Rows], books: Books, moment: Moment) -> None:
    if not rows:
        return
    contents: dict[ContentId, NewContent] = {
        r.content.content_id: r.content for r in rows if r.content is not None
    }
    if contents:
        await acceptance.insert_contents(tx, contents)
    jobs = [job for r in rows for job in r.jobs]
    await recording.suppress(tx, suppressions_wanted(jobs, moment.at))
    await acceptance.accept_jobs(
        tx,
        at=moment.at,
        day=moment.day,
        jobs=jobs,
        events=[event for r in rows for event in r.events],
        books=books,
        terms=[term for r in rows for term in r.terms],
    )


def _next_group(queue: deque[_Waiting]) -> list[_Waiting]:
    """The oldest requests that fit into one transaction; at least one."""
    group = [queue.popleft()]
    jobs, size = _weight(group[0])
    while queue:
        more_jobs, more_size = _weight(queue[0])
        jobs, size = jobs + more_jobs, size + more_size
        if jobs > MAX_GROUP_JOBS or size > MAX_GROUP_BYTES:
            break
        group.append(queue.popleft())
    return group


def _weight(waiting: _Waiting) -> tuple[int, int]:
    mail = waiting.submission.mail
    jobs = len(mail.recipients)
    if isinstance(mail.body, OwnContent):
        return jobs, len(mail.body.html or "") + len(mail.body.text or "")
    return jobs, jobs * len(mail.body.variables)


def _promise(submission: Submission, response: bytes) -> Promise:
    body_hash = b"" if submission.idempotency is None else submission.idempotency.body_hash
    return Promise(body_hash, response)


def _outcome(submission: Submission, rows: Rows, earlier: Mapping[IdempotencyName, Promise]) -> Outcome:
    promise = None if submission.name is None else earlier.get(submission.name)
    return Receipt(rows.response) if promise is None else _repeated(submission, promise)


def _repeated(submission: Submission, promise: Promise) -> Outcome:
    """What a request gets whose key is known: the answer of then, if it asks for the same."""
    if submission.idempotency is not None and submission.idempotency.body_hash == promise.body_hash:
        return Receipt(promise.response, replayed=True)
    return InvalidInput(
        "This Idempotency-Key came before with another body: use a new key for a new mail.",
        code="invalid_idempotent_request",
    )


def _returned(outcome: Outcome) -> Receipt:
    if isinstance(outcome, Receipt):
        return outcome
    raise outcome


def _settle_all(group: Sequence[_Waiting], error: Exception) -> None:
    for waiting in group:
        waiting.settle(error)
