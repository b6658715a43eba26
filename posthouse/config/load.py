"""From a file and the environment to Settings: defaults, units, and what the two streams must not share."""

import os
import tomllib
from collections.abc import Mapping
from datetime import timedelta
from importlib import resources
from pathlib import Path

import msgspec

from posthouse.config.settings import HouseSettings, Settings
from posthouse.domain.bounce_mail import INBOUND_ACCOUNT
from posthouse.domain.duration import is_duration, parse_duration
from posthouse.domain.errors import Misconfigured
from posthouse.domain.pointer import ANY, pointer_of, steps_of
from posthouse.domain.rate import Rate, parse_rate
from posthouse.domain.sandbox import SANDBOX_ACCOUNT
from posthouse.domain.stream import Stream

_MINIMUM_RETENTION = timedelta(days=45)  # a job may live 30 days ahead + 7 to expire + 7 in doubt

_SHORTEST_ANSWER, _LONGEST_ANSWER = timedelta(seconds=1), timedelta(seconds=60)

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
    development house: both streams to the simulator. What the environment says wins over a file."""
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
        ("KAFKA_BOOTSTRAP_SERVERS", "kafka", "bootstrap_servers"),
        ("POSTHOUSE_KAFKA_INSTANCE", "kafka", "instance"),
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
    for reserved, whose in ((SANDBOX_ACCOUNT, "test keys' sandbox"), (INBOUND_ACCOUNT, "bounce mail")):
        if reserved in settings.relays:
            raise Misconfigured(f"{source}: [relays.{reserved}] has the name of {whose}: choose another.")
    _refuse_shared(settings, source)
    _check_webhooks(settings, source)
    if settings.retention.jobs < _MINIMUM_RETENTION:
        raise Misconfigured(
            f"{source}: retention.jobs must be at least 45d: a job can live that long.",
            pointer="/retention/jobs",
        )


def _check_webhooks(settings: Settings, source: str) -> None:
    webhooks = settings.webhooks
    if not _SHORTEST_ANSWER <= webhooks.timeout <= _LONGEST_ANSWER:
        raise Misconfigured(
            f"{source}: webhooks.timeout must be 1s to 60s: who takes longer holds up its own messages.",
            pointer="/webhooks/timeout",
        )
    if webhooks.disable_after <= timedelta(0):
        raise Misconfigured(
            f"{source}: webhooks.disable_after must be positive: one failure is no reason.",
            pointer="/webhooks/disable_after",
        )
    if settings.retention.webhooks < sum(webhooks.retries, timedelta(0)) + webhooks.disable_after:
        raise Misconfigured(
            f"{source}: retention.webhooks must be at least webhooks.retries and webhooks.disable_after "
            "together: what is dropped before cannot be told any more.",
            pointer="/retention/webhooks",
        )
    for i, host in enumerate(webhooks.allow_hosts):
        name, _, port = host.rpartition(":")
        if not name or not port.isdigit():
            raise Misconfigured(
                f'{source}: webhooks.allow_hosts has {host!r}; write it as "host:port".',
                pointer=f"/webhooks/allow_hosts/{i}",
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
