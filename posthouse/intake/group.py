"""Group commit: requests that arrive while a commit is under way are stored together by the next one.

A commit costs a flush of the disk however many rows it holds, so under load a group of 100 mails costs
little more than one mail; without load a request is a group of its own and waits for nobody.
"""

import asyncio
from collections import Counter, deque
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field

from posthouse.domain.errors import NotNow
from posthouse.domain.ids import ApiKeyId, ContentId
from posthouse.domain.stream import Stream
from posthouse.failpoints import failpoint
from posthouse.intake.files import FileStore
from posthouse.intake.mail import NewMail, OwnContent
from posthouse.intake.once import Draft, settle
from posthouse.intake.rows import Moment, RowMaker, Rows
from posthouse.intake.sandbox import suppressions_wanted
from posthouse.intake.submission import Idempotency, Outcome, Receipt, Submission
from posthouse.storage import acceptance, recording
from posthouse.storage.acceptance import Books, IdempotencyName, KeyInUse, NewContent, Promise
from posthouse.storage.db import Database, Transaction, TransactionConflict

MAX_GROUP_JOBS = 500
MAX_GROUP_BYTES = 4_000_000  # of bodies and variables
GROUPS_IN_FLIGHT = 3  # while one waits for its flush the next ones are written


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
        self._files = FileStore(database, rows.content_key, now_ms)
        self._now_ms = now_ms
        self._accepted = accepted
        self._queue: deque[_Waiting] = deque()
        self._under_way: dict[IdempotencyName, _Waiting] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._committing = 0

    async def accept(self, submission: Submission) -> Receipt:
        """Store a request's mails and return the answer to it; the stored one if its key is known.

        Raises InvalidInput for a key that came with another body, KeyInUse, NotNow: the mails may then have
        been stored, if the database went away in the middle of a commit; with an idempotency key it is safe
        to ask again.
        """
        submission = await self._files.stored(submission)
        names = submission.names
        if names:
            await self._alone(names)
        waiting = self._enter(submission)
        for name in names:
            self._under_way[name] = waiting
        if names:
            waiting.outcome.add_done_callback(lambda _: self._done_with(names))
        return await waiting.receipt()

    async def promises(self, api_key_id: ApiKeyId, keys: Iterable[str]) -> dict[str, Promise]:
        """What is known of these idempotency keys. Raises NotNow."""
        names = sorted({IdempotencyName(api_key_id, key) for key in keys})
        async with self._database.session() as session:
            found = await acceptance.stored_answers(session, names)
        return {name.key: promise for name, promise in found.items()}

    async def recall(self, api_key_id: ApiKeyId, idempotency: Idempotency) -> Receipt | None:
        """The answer that was given to the same request before, if there is one. Raises NotNow."""
        promise = (await self.promises(api_key_id, [idempotency.key])).get(idempotency.key)
        if promise is None or promise.body_hash != idempotency.body_hash:
            return None
        return Receipt(promise.response, replayed=True)

    async def drain(self) -> None:
        """Return when every request that was taken has its outcome."""
        while self._tasks:
            await asyncio.wait(self._tasks)

    async def _alone(self, names: Collection[IdempotencyName]) -> None:
        """Wait for those of this process that came before under one of these keys: then their answer is
        stored. Two of them must not meet in one transaction, nor in two that would wait for each other."""
        while (before := next((self._under_way[n] for n in names if n in self._under_way), None)) is not None:
            outcome = await asyncio.shield(before.outcome)
            if isinstance(outcome, NotNow):
                raise outcome

    def _done_with(self, names: Collection[IdempotencyName]) -> None:
        for name in names:
            del self._under_way[name]

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
        rows = iter(self._rows.make([e.mail for s in submissions for e in s.entries], moment))
        drafts = [Draft(s, tuple(next(rows) for _ in s.entries)) for s in submissions]
        async with self._database.transaction() as tx:
            settled = await settle(tx, drafts)
            new = [r for one in settled for r in one.new]
            books = Books(Counter(job.stream for r in new for job in r.jobs))
            await _insert(tx, new, books, moment)
            failpoint("api.before_commit")
        return _Stored([one.outcome for one in settled], books)


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
    weights = [_weight_of(entry.mail) for entry in waiting.submission.entries]
    return sum(jobs for jobs, _ in weights), sum(size for _, size in weights)


def _weight_of(mail: NewMail) -> tuple[int, int]:
    jobs = len(mail.recipients)
    if isinstance(mail.body, OwnContent):
        return jobs, len(mail.body.html or "") + len(mail.body.text or "")
    return jobs, jobs * len(mail.body.variables)


def _returned(outcome: Outcome) -> Receipt:
    if isinstance(outcome, Receipt):
        return outcome
    raise outcome


def _settle_all(group: Sequence[_Waiting], error: Exception) -> None:
    for waiting in group:
        waiting.settle(error)
