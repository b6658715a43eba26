"""The whole configuration, table by table. The relays' own are in relays.py, the bus's in kafka.py."""

from datetime import timedelta
from pathlib import Path
from typing import Annotated

import msgspec

from posthouse.config.kafka import KafkaSettings
from posthouse.config.relays import RelaySettings
from posthouse.config.table import Port, Positive, Table
from posthouse.domain.ids import RelayAccount
from posthouse.domain.rate import Rate
from posthouse.domain.stream import Stream


class StreamSettings(Table, frozen=True, kw_only=True):
    """[streams.transactional] and [streams.marketing]. The first four must differ between the two."""

    #: Names of [relays.*] tables, in the order in which they are tried.
    relays: list[RelayAccount]
    #: Domains that mail of this stream may be from.
    from_domains: list[str]
    #: Where readers reach the track role: pixels, links and unsubscribe pages begin with it.
    tracking_url: str
    #: Domain of the envelope sender, where bounce mails go.
    bounce_domain: str
    #: A mail that was not sent this long after it was due ends EXPIRED (at most 7d); a mail may say its own.
    expires_after: timedelta
    #: Messages one worker may have in hand: so many are in doubt when it is killed.
    slots: Positive = 128
    #: How long an outcome may stay unknown before it is settled.
    unknown_after: timedelta
    #: Where the relay's silence proves nothing: send again, or hold for the operator.
    repeat_unknown: bool
    #: A mailbox that somebody reads, for List-Unsubscribe beside the one-click URL; empty: the URL alone.
    unsubscribe_mailto: str = ""
    #: Domain of the List-Id header (RFC 2919); empty: the first of from_domains.
    list_id: str = ""


class HouseSettings(Table, frozen=True, kw_only=True):
    """Where the house lives. Each role serves /metrics, /healthz and /readyz on its port."""

    #: Keys, logs, the link cache and the embedded database. POSTHOUSE_DATA_DIR wins.
    data_dir: str = ".posthouse"
    #: Address that every port is bound to.
    host: str = "127.0.0.1"
    #: The API and the relays' webhooks.
    api_port: Port = 8025
    #: Pixels, links and unsubscribe pages.
    track_port: Port = 8026
    #: Probes and metrics of the processor.
    processor_port: Port = 8027
    #: Probes and metrics of the dispatcher.
    dispatcher_port: Port = 8024
    #: Probes and metrics of each stream's worker.
    worker_ports: dict[Stream, Port] = msgspec.field(
        default_factory=lambda: {Stream.TRANSACTIONAL: 8028, Stream.MARKETING: 8029}
    )
    #: Largest request body: a batch of 500 mails, or one with its attachments.
    max_body_bytes: Positive = 50_000_000
    #: Most recipients of one mail, To, Cc and Bcc together.
    max_recipients: Positive = 50
    #: Most bytes of one mail's attachments together, decoded.
    max_attachment_bytes: Positive = 10_000_000
    #: So many relay callbacks, or records of a job topic, in a row that cannot be read stop their processing,
    #: aloud, instead of being set aside one after the other: an account that was taken out of the
    #: configuration, a key that was changed, the topics of another house.
    poison_limit: Positive = 50


class ApiSettings(Table, frozen=True, kw_only=True):
    """How fast one API key may ask. A request counts once whatever it asks, a batch too. Each process of the
    API counts for itself: a key that three of them serve may ask three times as fast."""

    #: Requests of one key. What is above it gets 429 with Retry-After.
    rate_limit: Rate = Rate(10_000, "s")
    #: Requests of one key at once after it was quiet; 0: as many as rate_limit has in its unit of time.
    rate_burst: Annotated[int, msgspec.Meta(ge=0)] = 0


class DatabaseSettings(Table, frozen=True, kw_only=True):
    """Which PostgreSQL (15 or newer) is the house's."""

    #: postgresql://...; empty: the embedded one in data_dir. DATABASE_URL wins.
    url: str = ""
    #: Most connections of each of a role's two pools.
    pool_size: Positive = 8


class LeaseSettings(Table, frozen=True, kw_only=True):
    """How it is known that a worker is dead (docs/adr/0003-leases-belong-to-processes.md)."""

    #: Each worker says so often that it lives.
    beat_every: timedelta = timedelta(seconds=2)
    #: A worker whose last confirmed beat is older does not begin a hand-over.
    begin_within: timedelta = timedelta(seconds=5)
    #: The sweeper must watch a beat stand still for this long, on one connection.
    dead_after: timedelta = timedelta(seconds=10)


class RetrySettings(Table, frozen=True, kw_only=True):
    """Hand-over trouble backs off with full jitter; soft bounces have a schedule of their own."""

    #: The first wait after a relay's trouble; each further one may be twice as long.
    base: timedelta = timedelta(seconds=1)
    #: The longest wait.
    cap: timedelta = timedelta(minutes=5)
    #: The longest wait that a reply may imply (greylisting, a quota): it is tried again by then.
    longest_hint: timedelta = timedelta(hours=4)
    #: Waits before each retry of a soft bounce; after the last one the mail bounces and suppresses.
    soft_bounce: list[timedelta] = msgspec.field(
        default_factory=lambda: [timedelta(hours=1), timedelta(hours=6), timedelta(hours=17)]
    )


class WebhookSettings(Table, frozen=True, kw_only=True):
    """What applications are told of their mail (docs/webhooks.md)."""

    #: Waits before each attempt after the first, which comes at once; then the delivery has failed.
    retries: list[timedelta] = msgspec.field(
        default_factory=lambda: [
            timedelta(seconds=5),
            timedelta(minutes=5),
            timedelta(minutes=30),
            *(timedelta(hours=hours) for hours in (2, 5, 10, 14, 20, 24)),
        ]
    )
    #: How long an endpoint has to answer, from connecting to the end of its answer.
    timeout: timedelta = timedelta(seconds=20)
    #: Requests to one endpoint at once, from each processor.
    concurrency: Positive = 16
    #: An endpoint that has failed for so long, without one success, is disabled.
    disable_after: timedelta = timedelta(days=5)
    #: Destinations that may be private and need no TLS, as "host:port": for development and the own network.
    allow_hosts: list[str] = msgspec.field(default_factory=list)


class SuppressionSettings(Table, frozen=True, kw_only=True):
    """Relays' own suppression lists, which are kept the same as ours (docs/operations.md)."""

    #: How often each relay's list is read, and both are made the same; 0s: never, but by hand.
    mirror_every: timedelta = timedelta(hours=6)


class RetentionSettings(Table, frozen=True, kw_only=True):
    """How long rows are kept."""

    #: Mails, their bodies and their events. At least 45d: a job can live that long.
    jobs: timedelta = timedelta(days=45)
    #: What tracked links lead to. At least as long as jobs.
    links: timedelta = timedelta(days=400)
    #: Answers to requests with an Idempotency-Key.
    idempotency_keys: timedelta = timedelta(hours=24)
    #: What was told to webhooks, and their delivery log: for so long it can be told again.
    webhooks: timedelta = timedelta(days=30)


class SimulationSettings(Table, frozen=True, kw_only=True):
    """What relays with `simulator = true` pretend."""

    #: Where it can be asked what arrived, and be given faults (GET /sim/messages).
    control_port: Port = 8032
    #: The same seed is the same world.
    seed: int = 1
    #: Seconds of ours for one second of that world.
    time_scale: Annotated[float, msgspec.Meta(gt=0)] = 1.0
    #: Whether messages can be read again, or only their ledger is kept.
    keep_bodies: bool = True


class InboundSettings(Table, frozen=True, kw_only=True):
    """Where bounce mails and complaints about SMTP relays' mail come back. With a port or a Maildir, the role
    `inbound` runs."""

    #: The listener's; 25 where the MX of a bounce_domain is this machine. 0: no listener.
    port: Port = 0
    #: Address that it is bound to; empty: as house.host, which reaches nobody outside while it is 127.0.0.1.
    host: str = ""
    #: The name it greets with; empty: this machine's.
    helo_name: str = ""
    #: Certificate chain and key (PEM) for STARTTLS; empty: without.
    tls_certificate: str = ""
    #: The certificate's key.
    tls_key: str = ""
    #: A Maildir to which another mail server delivers the bounce domains' mail; empty: none.
    maildir: str = ""
    #: How often the Maildir is looked at.
    maildir_every: timedelta = timedelta(seconds=10)
    #: Addresses that feedback loops (Yahoo, Microsoft, ...) report complaints to.
    feedback_addresses: list[str] = msgspec.field(default_factory=list)
    #: Largest mail; what is longer is refused by the listener, and cut in a Maildir.
    max_message_bytes: Positive = 1_000_000
    #: Connections at a time.
    max_connections: Positive = 200
    #: Probes and metrics of the role.
    ops_port: Port = 8033

    @property
    def is_wanted(self) -> bool:
        return self.port != 0 or self.maildir != ""


class Settings(Table, frozen=True, kw_only=True):
    """The whole configuration."""

    streams: dict[Stream, StreamSettings]
    relays: dict[RelayAccount, RelaySettings]
    house: HouseSettings = HouseSettings()
    api: ApiSettings = ApiSettings()
    database: DatabaseSettings = DatabaseSettings()
    kafka: KafkaSettings = msgspec.field(default_factory=KafkaSettings)
    lease: LeaseSettings = LeaseSettings()
    retry: RetrySettings = RetrySettings()
    retention: RetentionSettings = RetentionSettings()
    webhooks: WebhookSettings = WebhookSettings()
    suppressions: SuppressionSettings = SuppressionSettings()
    inbound: InboundSettings = InboundSettings()
    simulation: SimulationSettings = SimulationSettings()

    @property
    def data_dir(self) -> Path:
        return Path(self.house.data_dir).resolve()

    def relay(self, account: RelayAccount) -> RelaySettings:
        return self.relays[account]
