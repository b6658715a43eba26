"""Settings: `posthouse.toml` and the environment, frozen, typed, with units; an unknown key is an error.

Durations are text with a unit ("250ms", "10s", "5m", "24h", "45d"), or lists of them; rates are text too
("100/s", "1000/m", "5000/h"). Secrets are not in the file: `*_env` names the environment variable that holds
one, `*_file` a file.
"""

import os
import tomllib
from collections.abc import Mapping
from datetime import timedelta
from importlib import resources
from pathlib import Path
from typing import Annotated, Literal

import msgspec

from posthouse.domain.duration import is_duration, parse_duration
from posthouse.domain.errors import Misconfigured
from posthouse.domain.ids import RelayAccount
from posthouse.domain.pointer import ANY, pointer_of, steps_of
from posthouse.domain.rate import Rate, parse_rate
from posthouse.domain.sandbox import SANDBOX_ACCOUNT
from posthouse.domain.stream import Stream

#: Names the read end of a pipe that `posthouse up` holds open: its end means that the parent is gone.
PARENT_PIPE = "POSTHOUSE_PARENT_PIPE"


Port = Annotated[int, msgspec.Meta(ge=0, le=65535)]
Positive = Annotated[int, msgspec.Meta(ge=1)]


class _Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Base: what it means to be a table of the configuration."""


class StreamSettings(_Settings, frozen=True, kw_only=True):
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


class SmtpAccountSettings(_Settings, frozen=True, kw_only=True, tag="smtp", tag_field="kind"):
    """[relays.NAME] with kind = "smtp": any SMTP submission server."""

    #: The server's name or address.
    host: str
    #: 587 is submission with STARTTLS; with tls = "implicit" usually 465 (RFC 8314).
    port: Port = 587
    #: STARTTLS is required once chosen: there is no silent fall-back to clear text.
    tls: Literal["none", "starttls", "implicit"] = "starttls"
    #: For AUTH; empty: no signing in.
    user: str = ""
    #: Name of the environment variable that holds the password.
    password_env: str = ""
    #: File that holds the password.
    password_file: str = ""
    #: Connections of one worker.
    max_connections: Positive = 8
    #: The server is ours: it may be mailed at reserved domains and signed in to in clear text.
    simulator: bool = False


class SendGridAccountSettings(_Settings, frozen=True, kw_only=True, tag="sendgrid", tag_field="kind"):
    """[relays.NAME] with kind = "sendgrid": SendGrid v3, or what speaks its protocol."""

    #: Name of the environment variable that holds the API key.
    api_key_env: str = ""
    #: File that holds the API key.
    api_key_file: str = ""
    #: https://api.eu.sendgrid.com for an account in the EU region.
    base_url: str = "https://api.sendgrid.com"
    #: The Event Webhook's verification key, base64 DER as SendGrid shows it, or PEM. It is public.
    webhook_key: str = ""
    #: File that holds the verification key. One of the two is needed: unsigned webhooks are not taken.
    webhook_key_file: str = ""
    #: Requests of one worker under way at a time.
    max_concurrency: Positive = 64
    #: The server is ours: it may be at a private address and be mailed at reserved domains.
    simulator: bool = False


RelaySettings = SmtpAccountSettings | SendGridAccountSettings


class HouseSettings(_Settings, frozen=True, kw_only=True):
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
    #: Probes and metrics of each stream's worker.
    worker_ports: dict[Stream, Port] = msgspec.field(
        default_factory=lambda: {Stream.TRANSACTIONAL: 8028, Stream.MARKETING: 8029}
    )
    #: Largest request body: a batch of 500 mails, or one with its attachments.
    max_body_bytes: Positive = 50_000_000
    #: Most recipients of one mail, To, Cc and Bcc together.
    max_recipients: Positive = 50


class ApiSettings(_Settings, frozen=True, kw_only=True):
    """How fast one API key may ask. A request counts once whatever it asks, a batch too. Each process of the
    API counts for itself: a key that three of them serve may ask three times as fast."""

    #: Requests of one key. What is above it gets 429 with Retry-After.
    rate_limit: Rate = Rate(10_000, "s")
    #: Requests of one key at once after it was quiet; 0: as many as rate_limit has in its unit of time.
    rate_burst: Annotated[int, msgspec.Meta(ge=0)] = 0


class DatabaseSettings(_Settings, frozen=True, kw_only=True):
    """Which PostgreSQL (15 or newer) is the house's."""

    #: postgresql://...; empty: the embedded one in data_dir. DATABASE_URL wins.
    url: str = ""
    #: Most connections of each of a role's two pools.
    pool_size: Positive = 8


class LeaseSettings(_Settings, frozen=True, kw_only=True):
    """How it is known that a worker is dead (docs/adr/0003-leases-belong-to-processes.md)."""

    #: Each worker says so often that it lives.
    beat_every: timedelta = timedelta(seconds=2)
    #: A worker whose last confirmed beat is older does not begin a hand-over.
    begin_within: timedelta = timedelta(seconds=5)
    #: The sweeper must watch a beat stand still for this long, on one connection.
    dead_after: timedelta = timedelta(seconds=10)


class RetrySettings(_Settings, frozen=True, kw_only=True):
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


class RetentionSettings(_Settings, frozen=True, kw_only=True):
    """How long rows are kept."""

    #: Mails, their bodies and their events. At least 45d: a job can live that long.
    jobs: timedelta = timedelta(days=45)
    #: What tracked links lead to. At least as long as jobs.
    links: timedelta = timedelta(days=400)
    #: Answers to requests with an Idempotency-Key.
    idempotency_keys: timedelta = timedelta(hours=24)


class SimulationSettings(_Settings, frozen=True, kw_only=True):
    """What relays with `simulator = true` pretend."""

    #: Where it can be asked what arrived, and be given faults (GET /sim/messages).
    control_port: Port = 8032
    #: The same seed is the same world.
    seed: int = 1
    #: Seconds of ours for one second of that world.
    time_scale: Annotated[float, msgspec.Meta(gt=0)] = 1.0
    #: Whether messages can be read again, or only their ledger is kept.
    keep_bodies: bool = True


class Settings(_Settings, frozen=True, kw_only=True):
    """The whole configuration."""

    streams: dict[Stream, StreamSettings]
    relays: dict[RelayAccount, RelaySettings]
    house: HouseSettings = HouseSettings()
    api: ApiSettings = ApiSettings()
    database: DatabaseSettings = DatabaseSettings()
    lease: LeaseSettings = LeaseSettings()
    retry: RetrySettings = RetrySettings()
    retention: RetentionSettings = RetentionSettings()
    simulation: SimulationSettings = SimulationSettings()

    @property
    def data_dir(self) -> Path:
        return Path(self.house.data_dir).resolve()

    def relay(self, account: RelayAccount) -> RelaySettings:
        return self.relays[account]


_MINIMUM_RETENTION = timedelta(days=45)  # a job may live 30 days ahead + 7 to expire + 7 in doubt

#: What a stream of each kind does when its table does not say.
_STREAM_DEFAULTS: Mapping[str, Mapping[str, object]] = {
    "transactional": {"expires_after": "24h", "unknown_after": "10s", "repeat_unknown": True},
    "marketing": {"expires_after": "72h", "unknown_after": "10m", "repeat_unknown": False},
}


def _own_kind(kind: type, value: object) -> object:
    """What msgspec asks about a setting of a class that it does not know."""
    if kind is Rate and isinstance(value, str):
        return parse_rate(value)
    raise ValueError(f"{value!r} is not a {kind.__name__.lower()}")


def _spelled_out(value: object) -> object:
    """Every text that is a duration, as one. No other setting looks like "10s"."""
    match value:
        case dict():
            return {key: _spelled_out(item) for key, item in value.items()}
        case list():
            return [_spelled_out(item) for item in value]
        case str() if is_duration(value):
            return parse_duration(value)
        case _:
            return value


def _converted(table: Mapping[str, object]) -> Settings:
    return msgspec.convert(_spelled_out(table), Settings, builtin_types=(timedelta,), dec_hook=_own_kind)


def settings_from(table: Mapping[str, object], source: str) -> Settings:
    """A configuration table as Settings. Raises Misconfigured, naming the source and the key at fault."""
    try:
        settings = _converted(_with_defaults(table))
    except (msgspec.ValidationError, ValueError) as error:
        raise Misconfigured(
            f"{source}: {error}. See docs/configuration.md for every key.", pointer=_pointer(error, table)
        ) from error
    _check(settings, source)
    return settings


def file_of(path: Path | None, environ: Mapping[str, str]) -> Path:
    """The file that `load` reads, if it is there."""
    return path or Path(environ.get("POSTHOUSE_CONFIG", "posthouse.toml"))


def load(path: Path | None, environ: Mapping[str, str]) -> Settings:
    """Settings of a file; of `posthouse.toml` in this folder if no file is named and it is there; else the
    development house: both streams to the simulator. DATABASE_URL and POSTHOUSE_DATA_DIR win over a file."""
    chosen = file_of(path, environ)
    if chosen.is_file():
        try:
            table = tomllib.loads(chosen.read_text(encoding="utf-8"))
        except tomllib.TOMLDecodeError as error:
            raise Misconfigured(f"{chosen} is not TOML: {error}.") from error
        source = str(chosen)
    elif path is not None or "POSTHOUSE_CONFIG" in environ:
        raise Misconfigured(f"{chosen} is not there. Name a file with --config or POSTHOUSE_CONFIG.")
    else:
        folder = environ.get("POSTHOUSE_DATA_DIR", HouseSettings().data_dir)
        table, source = tomllib.loads(DEVELOPMENT.format(folder=folder)), "the built-in configuration"
    return settings_from(_with_environment(table, environ), source)


def secret(inline: str, env: str, file: str, environ: Mapping[str, str] | None = None) -> str:
    """A secret from where the configuration says it is; "" if it names no place. Raises Misconfigured."""
    if env:
        value = (os.environ if environ is None else environ).get(env)
        if value is None:
            raise Misconfigured(
                f"The environment variable {env} is not set; the configuration names it for a secret."
            )
        return value
    if file:
        try:
            return Path(file).read_text(encoding="utf-8").strip()
        except OSError as error:
            raise Misconfigured(f"The secret file {file} cannot be read: {error.strerror}.") from error
    return inline


def _pointer(error: Exception, table: Mapping[str, object]) -> str:
    """To the key at fault; "" if that is not known."""
    steps = steps_of(str(error))
    if len(steps) > 1 and steps[1] == ANY:
        steps[1] = _wrong_alone(steps[0], table)
    return pointer_of(steps)


def _wrong_alone(section: str, table: Mapping[str, object]) -> str:
    """Which of the tables of a section is wrong."""
    entries = _with_defaults(table)[section]
    assert isinstance(entries, dict)
    for name, entry in entries.items():
        try:
            _converted({"streams": {}, "relays": {}, section: {name: entry}})
        except msgspec.ValidationError:
            return str(name)
    return ANY


def _with_defaults(table: Mapping[str, object]) -> dict[str, object]:
    streams = table.get("streams")
    if not isinstance(streams, dict):
        return dict(table)
    filled = {
        name: {**_STREAM_DEFAULTS.get(name, {}), **value} if isinstance(value, dict) else value
        for name, value in streams.items()
    }
    return {**table, "streams": filled}


def _with_environment(table: Mapping[str, object], environ: Mapping[str, str]) -> dict[str, object]:
    merged = dict(table)
    for variable, section, key in (
        ("DATABASE_URL", "database", "url"),
        ("POSTHOUSE_DATA_DIR", "house", "data_dir"),
    ):
        if variable in environ:
            old = merged.get(section, {})
            merged[section] = {**(old if isinstance(old, dict) else {}), key: environ[variable]}
    return merged


def _check(settings: Settings, source: str) -> None:
    missing = set(Stream) - set(settings.streams)
    if missing:
        raise Misconfigured(
            f"{source}: [streams.{min(missing)}] is missing; both streams are needed.", pointer="/streams"
        )
    for name, stream in settings.streams.items():
        if not stream.relays:
            raise Misconfigured(
                f"{source}: [streams.{name}] names no relay; list at least one [relays.*] account.",
                pointer=f"/streams/{name}/relays",
            )
        for account in stream.relays:
            if account not in settings.relays:
                raise Misconfigured(
                    f"{source}: [streams.{name}] names {account!r}, but there is no [relays.{account}].",
                    pointer=f"/streams/{name}/relays",
                )
    if SANDBOX_ACCOUNT in settings.relays:
        raise Misconfigured(f"{source}: [relays.sandbox] has the name of test keys' sandbox: choose another.")
    _refuse_shared(settings, source)
    if settings.retention.jobs < _MINIMUM_RETENTION:
        raise Misconfigured(
            f"{source}: retention.jobs must be at least 45d: a job can live that long.",
            pointer="/retention/jobs",
        )


def _refuse_shared(settings: Settings, source: str) -> None:
    """The two streams share nothing that one of them could spoil for the other."""
    one, other = (settings.streams[stream] for stream in (Stream.TRANSACTIONAL, Stream.MARKETING))
    shared: dict[str, set[str]] = {
        "relays": set(map(str, one.relays)) & set(map(str, other.relays)),
        "from_domains": {d.lower() for d in one.from_domains} & {d.lower() for d in other.from_domains},
        "tracking_url": {one.tracking_url.rstrip("/")} & {other.tracking_url.rstrip("/")},
        "bounce_domain": {one.bounce_domain.lower()} & {other.bounce_domain.lower()},
    }
    for key, values in shared.items():
        if values:
            raise Misconfigured(
                f"{source}: both streams have {key} {min(values)!r}. A complaint about marketing would then "
                "hold back password resets: give each stream its own.",
                pointer=f"/streams/{Stream.MARKETING}/{key}",
            )


#: `posthouse up` without a configuration file: a house that mails simulated people only.
DEVELOPMENT = (resources.files("posthouse") / "development.toml").read_text(encoding="utf-8")
