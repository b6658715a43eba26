"""What a simulation is made of. Read from TOML, or built by whoever starts one."""

from enum import StrEnum
from pathlib import Path
from typing import TypeAlias

import msgspec

LEDGER_NAME = "ledger.jsonl"
EVENTS_NAME = "events.jsonl"
BODIES_NAME = "messages.dat"
ENDPOINTS_NAME = "endpoints.json"
CERTIFICATE_NAME = "smtp-certificate.pem"


class FaultKind(StrEnum):
    """What goes wrong on the way in. An account's control address never fails."""

    REFUSE = "refuse"  # nothing listens any more; idle connections are closed
    HANG = "hang"  # the mail is read and never answered, nor taken
    CUT_MID_BODY = "cut_mid_body"  # the line breaks while the mail is on it; not taken
    CUT_AFTER_BODY = "cut_after_body"  # taken (it is in the ledger), then the line breaks before the answer
    THROTTLE = "throttle"  # HTTP 429, SMTP 451 4.7.0
    SERVER_ERROR = "server_error"  # HTTP 503, SMTP 451 4.3.0 after the body
    UNAUTHORIZED = "unauthorized"  # HTTP 401, SMTP 530
    SLOW = "slow"  # taken, answered `delay_ms` later


class FaultSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """`account` None: every account. `times` None: until cleared (the only way for REFUSE)."""

    kind: FaultKind
    account: str | None = None
    times: int | None = None
    delay_ms: int = 0


class WebhookHabits(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How a webhook behaves. Shares are of 1; seconds are of the simulated world, before the scale. With
    `retry_waits` those are the waits, one before each further try; else they double from `retry_first`."""

    flush_every: float = 0.2
    batch_max: int = 500  # events in one call
    in_flight: int = 4  # calls at the same time
    duplicate_share: float = 0.03
    late_share: float = 0.02
    late_by: float = 60.0
    disorder: float = 2.0  # an event is held back by up to this
    retry_waits: tuple[float, ...] = ()
    retry_first: float = 10.0
    retry_most: float = 1800.0
    retry_until: float = 86_400.0  # SendGrid gives up after 24 hours
    timeout: float = 10.0  # real seconds: the receiver is real


class SendGridAccount(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """An account of the SendGrid v3 send API, on a port of its own (0: any free one).

    `key_path` holds the ECDSA P-256 key (PEM, PKCS 8) that signs its webhooks; made when missing.
    `webhook_url` None: no webhooks. It is called wherever it leads: it is the operator's setting.
    """

    name: str
    api_key: str
    key_path: Path
    webhook_url: str | None = None
    port: int = 0
    habits: WebhookHabits = WebhookHabits()


#: One record in a call. The waits are those that Postmark publishes for calls it makes again.
POSTMARK_HABITS = WebhookHabits(
    batch_max=1,
    in_flight=16,
    retry_waits=(60, 300, 600, 600, 600, 900, 1800, 3600, 7200, 21_600),
)


class PostmarkAccount(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A server of Postmark's API, on a port of its own (0: any free one).

    Its webhook brings the user and password, the header, or both. `credits` mails are taken, and then none;
    None: any number. `webhook_url` None: no webhooks.
    """

    name: str
    server_token: str
    webhook_url: str | None = None
    webhook_user: str = ""
    webhook_password: str = ""
    webhook_header: str = ""
    webhook_secret: str = ""
    streams: tuple[str, ...] = ("outbound", "broadcast")
    credits: int | None = None
    port: int = 0
    habits: WebhookHabits = POSTMARK_HABITS


#: One event in a call; after a failure again for about 8 hours.
MAILGUN_HABITS = WebhookHabits(
    batch_max=1,
    in_flight=16,
    retry_waits=(600, 900, 1800, 3600, 7200, 14_400),
)


class MailgunAccount(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A sending domain of a Mailgun account, on a port of its own (0: any free one).

    `hourly_limit`: more mails within an hour of the simulated world are refused until it is over; None: any
    number. `webhook_url` None: no webhooks.
    """

    name: str
    domain: str
    api_key: str
    signing_key: str
    webhook_url: str | None = None
    hourly_limit: int | None = None
    port: int = 0
    habits: WebhookHabits = MAILGUN_HABITS


#: SNS posts one event in a call, and gives up after three more, 20 s apart.
SNS_HABITS = WebhookHabits(
    batch_max=1, in_flight=16, retry_waits=(20.0, 20.0, 20.0), retry_until=3600.0, timeout=15.0
)


class SesAccount(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """An account of SES in one region, on a port of its own, with its SNS and SQS at the same address.

    `key_path` holds the RSA key (PEM, PKCS 8) that signs what SNS posts; made when missing. `queue`: events
    wait in a queue of SQS instead of being posted. Rates and quotas of None: without limit.
    """

    name: str
    access_key_id: str
    secret_access_key: str
    key_path: Path
    port: int
    configuration_set: str = ""
    topic_arn: str = "arn:aws:sns:eu-west-1:123456789012:simulated"
    signature_version: str = "2"
    webhook_url: str | None = None
    queue: bool = False
    max_send_rate: float | None = None
    max_24_hour_send: int | None = None
    habits: WebhookHabits = SNS_HABITS


#: Every account that is reached over HTTP.
HttpAccount: TypeAlias = SendGridAccount | MailgunAccount | PostmarkAccount | SesAccount


class SmtpSecurity(StrEnum):
    PLAIN = "plain"
    STARTTLS = "starttls"
    TLS = "tls"  # from the first byte (RFC 8314)


class SmtpAccount(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A plain SMTP relay on a port of its own (0: any free one). With a password, AUTH is required; the user
    is the account's name. The certificate is self-signed, for localhost and 127.0.0.1.

    `returns_port`: where reports of late bounces are mailed to, at `returns_host`; 0: such mail is lost in
    silence. Complaints go there too, to `feedback_address` if there is one.
    """

    name: str
    password: str | None = None
    port: int = 0
    security: SmtpSecurity = SmtpSecurity.PLAIN
    returns_host: str = "127.0.0.1"
    returns_port: int = 0
    feedback_address: str = ""


class SimulatorSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One simulation. `folder` gets the ledger, the events, the bodies and endpoints.json.

    `time_scale`: seconds of ours for one second of the simulated world (0.01: a hundred times faster).
    `keep_bodies` False: bodies are not kept, only the ledger. `fsync`: an answer also waits for the disk.
    """

    folder: Path
    host: str = "127.0.0.1"
    control_port: int = 0
    seed: int = 1
    time_scale: float = 1.0
    keep_bodies: bool = True
    fsync: bool = False
    max_message_bytes: int = 30 * 1024 * 1024
    index_max: int = 100_000  # mails that can be looked up over HTTP
    agenda_max: int = 500_000  # things that people still mean to do; more are left undone, and counted
    visitors: int = 32  # people and machines at work at the same time
    sendgrid: tuple[SendGridAccount, ...] = ()
    mailgun: tuple[MailgunAccount, ...] = ()
    postmark: tuple[PostmarkAccount, ...] = ()
    ses: tuple[SesAccount, ...] = ()
    smtp: tuple[SmtpAccount, ...] = ()
    faults: tuple[FaultSpec, ...] = ()
    providers_path: Path | None = None

    @property
    def http_accounts(self) -> tuple[HttpAccount, ...]:
        return (*self.sendgrid, *self.mailgun, *self.postmark, *self.ses)

    @property
    def ledger_path(self) -> Path:
        return self.folder / LEDGER_NAME

    @property
    def events_path(self) -> Path:
        return self.folder / EVENTS_NAME

    @property
    def bodies_path(self) -> Path:
        return self.folder / BODIES_NAME

    @property
    def endpoints_path(self) -> Path:
        return self.folder / ENDPOINTS_NAME

    @property
    def certificate_path(self) -> Path:
        return self.folder / CERTIFICATE_NAME


class BadSettingsError(ValueError):
    """The settings cannot be used; the text says which and why."""


def load_settings(path: Path) -> SimulatorSettings:
    """Settings from a TOML file. Raises BadSettingsError, OSError."""
    try:
        settings = msgspec.toml.decode(path.read_bytes(), type=SimulatorSettings, dec_hook=_decode_path)
    except msgspec.DecodeError as error:
        raise BadSettingsError(f"{path}: {error}") from error
    check_settings(settings)
    return settings


def check_settings(settings: SimulatorSettings) -> None:
    """Raises BadSettingsError where values that are each well-formed make no sense together."""
    names = [account.name for account in settings.http_accounts]
    names += [account.name for account in settings.smtp]
    if len(names) != len(set(names)):
        raise BadSettingsError("two accounts have one name")
    if settings.time_scale <= 0:
        raise BadSettingsError("time_scale must be above 0")
    if settings.visitors < 1 or any(
        a.habits.in_flight < 1 or a.habits.batch_max < 1 for a in settings.http_accounts
    ):
        raise BadSettingsError("visitors, in_flight and batch_max must be at least 1")
    for fault in settings.faults:
        check_fault(fault, frozenset(names))


def check_fault(fault: FaultSpec, accounts: frozenset[str]) -> None:
    """Raises BadSettingsError for a fault that could never act as it says."""
    if fault.account is not None and fault.account not in accounts:
        raise BadSettingsError(f"no account {fault.account}")
    if fault.times is not None and (fault.times < 1 or fault.kind is FaultKind.REFUSE):
        raise BadSettingsError("times must be at least 1, and refuse lasts until it is cleared")
    if fault.delay_ms < 0:
        raise BadSettingsError("delay_ms must not be negative")


def _decode_path(kind: type, value: object) -> object:
    if kind is Path and isinstance(value, str):
        return Path(value)
    raise NotImplementedError(kind)
