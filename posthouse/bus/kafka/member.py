"""One member of a consumer group, on a thread of its own, because librdkafka's calls block.

Offsets are committed by hand, after the work. Between two fetches a member that works long asks for nothing
and keeps its partitions all the same: they are paused, and the group hears from it.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import Final, TypeAlias, TypeVar

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from posthouse.bus.kafka.connection import Complaints, connection
from posthouse.bus.kafka.topics import full_name
from posthouse.config import KafkaSettings
from posthouse.domain.errors import Misconfigured
from posthouse.storage.background import in_background

T = TypeVar("T")
#: In quotes: the class takes its parameters in the checker only.
KafkaMessage: TypeAlias = "Message[bytes, bytes]"

#: Heartbeats in a session: a few may be lost before the session is.
_BEATS: Final = 15
#: Of records fetched ahead.
_AHEAD_KBYTES: Final = 16_384
#: A full queue of them is looked at again after so long; librdkafka's second shows as hiccups. Milliseconds.
_AHEAD_BACKOFF: Final = 20


class Member:
    """`async with Member(settings, group, topic, lost).running() as member: await member.fetch(100, 0.1)`"""

    def __init__(
        self,
        settings: KafkaSettings,
        group: str,
        topic: str,
        lost: Callable[[frozenset[int]], None] = lambda _: None,
    ) -> None:
        """`lost` is told, on the member's thread, which partitions are another's from now on. What was
        fetched of them comes again there, unless it was committed. Raises Misconfigured."""
        self._settings = settings
        self._topic = full_name(settings, topic)
        self._lost = lost
        self._complaints = Complaints()
        self._wanted: dict[int, int] = {}  # by partition, the offset last asked to be committed
        self._refused: set[int] = set()  # partitions of which that has failed
        self._consumer = Consumer(
            {
                **connection(settings),
                **_membership(settings, group),
                "error_cb": self._complaints.heed,
                "on_commit": self._answered,
            }
        )
        self._thread = ThreadPoolExecutor(1, f"kafka {group}")
        self._early: list[KafkaMessage] = []
        self._paused = False
        self._asked_at = 0.0

    @asynccontextmanager
    async def running(self) -> AsyncIterator["Member"]:
        """In the group for as long as the context."""
        await self._call(self._join)
        try:
            async with in_background(self._stay(), "kafka member"):
                yield self
        finally:
            await self._call(self._consumer.close)
            self._thread.shutdown()

    async def fetch(self, limit: int, timeout: float) -> list[KafkaMessage]:
        """Up to `limit` records, each partition's in order; [] when none came in time.

        Partitions change hands only while this runs, or when no fetch was made for long. Raises
        Misconfigured when another process goes by this one's `instance`.
        """
        self._asked_at = asyncio.get_running_loop().time()
        fetching = asyncio.wrap_future(self._thread.submit(self._fetch, limit, timeout))
        try:
            return await asyncio.shield(fetching)
        except asyncio.CancelledError:
            fetching.add_done_callback(self._keep)
            raise

    async def commit(self, offsets: Mapping[int, int]) -> None:
        """By partition, the offset after the last record that is done with.

        The cluster is not waited for: librdkafka blocks in that for as long as a broker is away, which costs
        the member its partitions, and may then never read again. What fails is tried again; what is lost with
        this process is read again.
        """
        if offsets:
            await self._call(lambda: self._commit(offsets))

    async def pause(self) -> None:
        """Fetch nothing ahead; the place is kept. The next fetch ends it."""
        await self._call(self._pause)

    async def _call(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)

    async def _stay(self) -> None:
        """Let the group hear from a member that is busy for long, so that it keeps its partitions."""
        every = self._settings.max_poll_interval.total_seconds() / 4
        clock = asyncio.get_running_loop().time
        while True:
            await asyncio.sleep(every)
            if clock() - self._asked_at >= every:
                await self._call(self._show)

    def _keep(self, fetching: "asyncio.Future[list[KafkaMessage]]") -> None:
        """What came for a fetch that was cancelled meanwhile is for the next one."""
        if not fetching.cancelled() and fetching.exception() is None:
            self._thread.submit(lambda: self._early.extend(fetching.result()))

    # What follows runs on the member's thread.

    def _join(self) -> None:
        self._consumer.subscribe([self._topic], on_assign=self._assigned, on_revoke=self._revoked)

    def _fetch(self, limit: int, timeout: float) -> list[KafkaMessage]:
        if self._refused:
            self._commit({partition: self._wanted[partition] for partition in self._refused})
        if self._paused:
            self._paused = False
            self._consumer.resume(self._consumer.assignment())
        # `consume` waits until it has as many as it was asked for: only the first is waited for.
        if not self._early:
            self._early = self._consume(1, timeout)
        if len(self._early) < limit:
            self._early += self._consume(limit - len(self._early), 0.0)
        taken, self._early = self._early[:limit], self._early[limit:]
        return taken

    def _consume(self, limit: int, timeout: float) -> list[KafkaMessage]:
        return [one for one in self._consumer.consume(limit, timeout) if _is_record(one, self._complaints)]

    def _pause(self) -> None:
        self._paused = True
        self._consumer.pause(self._consumer.assignment())

    def _show(self) -> None:
        self._pause()
        self._early += self._consume(1, 0.0)

    def _commit(self, offsets: Mapping[int, int]) -> None:
        """Of the partitions that are still ours: of the others, another member says what is done."""
        ours = {one.partition for one in self._consumer.assignment()}
        done = [TopicPartition(self._topic, p, offset) for p, offset in offsets.items() if p in ours]
        self._wanted.update((one.partition, one.offset) for one in done)
        self._refused.difference_update(offsets)
        try:
            if done:
                self._consumer.commit(offsets=done, asynchronous=True)
        except KafkaException as error:
            self._answered(error.args[0], done)

    def _answered(self, error: KafkaError | None, partitions: Sequence[TopicPartition]) -> None:
        failed = [one for one in partitions if error is not None or one.error is not None]
        self._refused.update(one.partition for one in failed if one.partition in self._wanted)
        if error is not None:
            self._complaints.heed(error)

    def _assigned(self, consumer: Consumer, partitions: Sequence[TopicPartition]) -> None:
        """A partition that was lost while it was paused comes back paused: it must be told either way."""
        consumer.incremental_assign(list(partitions))
        tell = consumer.pause if self._paused else consumer.resume
        tell(list(partitions))

    def _revoked(self, consumer: Consumer, partitions: Sequence[TopicPartition]) -> None:
        gone = frozenset(one.partition for one in partitions)
        self._early = [one for one in self._early if one.partition() not in gone]
        for partition in gone:
            self._wanted.pop(partition, None)
            self._refused.discard(partition)
        self._lost(gone)
        consumer.incremental_unassign(list(partitions))


def _membership(settings: KafkaSettings, group: str) -> dict[str, str | int | bool]:
    """What makes a member of ours: by hand committed, and moving as few partitions as can be."""
    session = round(settings.session_timeout.total_seconds() * 1000)
    name = full_name(settings, group)
    static = {"group.instance.id": f"{name}.{settings.instance}"} if settings.instance else {}
    return {
        "group.id": name,
        **static,
        "enable.auto.commit": False,
        "auto.offset.reset": "earliest",  # a new group: nothing that was appended is skipped
        "partition.assignment.strategy": "cooperative-sticky",
        "session.timeout.ms": session,
        "heartbeat.interval.ms": session // _BEATS,
        "max.poll.interval.ms": round(settings.max_poll_interval.total_seconds() * 1000),
        "queued.max.messages.kbytes": _AHEAD_KBYTES,
        "fetch.queue.backoff.ms": _AHEAD_BACKOFF,
    }


def _is_record(message: KafkaMessage, complaints: Complaints) -> bool:
    """Errors come among the records. Those that pass by themselves are for the log only."""
    error = message.error()
    if error is None:
        return True
    if error.fatal() or error.code() == KafkaError.FENCED_INSTANCE_ID:
        raise Misconfigured(
            f"Kafka put this process out of its consumer group: {error.str()}. Does another process have "
            "the same POSTHOUSE_KAFKA_INSTANCE?",
            pointer="/kafka/instance",
        )
    complaints.heed(error)
    return False
