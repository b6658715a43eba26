"""SNS's envelope: what it says, which bytes were signed, and what must hold before anything is fetched.

https://docs.aws.amazon.com/sns/latest/dg/sns-message-and-json-formats.html
https://docs.aws.amazon.com/sns/latest/dg/sns-verify-signature-of-message.html
"""

import base64
import re
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Final

from posthouse.domain.errors import Misconfigured
from posthouse.relays.entries import Entry, fields


class Kind(StrEnum):
    NOTIFICATION = "Notification"
    SUBSCRIPTION = "SubscriptionConfirmation"
    UNSUBSCRIPTION = "UnsubscribeConfirmation"


#: The signed fields, in their order; a Subject only where there is one.
_SIGNED: Final = {
    Kind.NOTIFICATION: ("Message", "MessageId", "Subject", "Timestamp", "TopicArn", "Type"),
    Kind.SUBSCRIPTION: (
        "Message", "MessageId", "SubscribeURL", "Timestamp", "Token", "TopicArn", "Type",
    ),
    Kind.UNSUBSCRIPTION: (
        "Message", "MessageId", "SubscribeURL", "Timestamp", "Token", "TopicArn", "Type",
    ),
}  # fmt: skip

_ARN = re.compile(r"arn:(aws|aws-cn|aws-us-gov):sns:([a-z0-9-]{3,40}):([0-9]{12}):([A-Za-z0-9_-]{1,256})")
_MESSAGE_ID = re.compile(r"[0-9a-fA-F-]{36}")
_TIMESTAMP = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{3}Z")
_TOKEN = re.compile(r"[0-9A-Za-z_.=-]{1,2000}")
#: RSA of 2048 to 4096 bits, in base64.
_SIGNATURE = re.compile(r"[A-Za-z0-9+/]{340,700}={0,2}")
_CERTIFICATE_FILE = re.compile(r"/SimpleNotificationService-[0-9a-f]{8,64}\.pem")


@dataclass(frozen=True, slots=True)
class Topic:
    """A topic that the operator allows."""

    arn: str
    partition: str
    region: str

    @property
    def host(self) -> str:
        """SNS's own address in the topic's region."""
        suffix = "amazonaws.com.cn" if self.partition == "aws-cn" else "amazonaws.com"
        return f"sns.{self.region}.{suffix}"

    @property
    def signers(self) -> frozenset[str]:
        """Names of the certificates that SNS signs with there: the plain one in regions of old, one of the
        region's own in newer ones and in other partitions."""
        suffix = self.host.partition(f"sns.{self.region}.")[2]
        own = {f"sns.{self.region}.{suffix}", f"sns-{self.region}.{suffix}"}
        own.add(f"sns-signing.{self.region}.{suffix}")
        if self.partition == "aws":
            own.add("sns.amazonaws.com")
        if self.partition == "aws-us-gov":
            own.add("sns-us-gov-west-1.amazonaws.com")  # signs for both regions
        return frozenset(own)


def topic_of(arn: str, setting: str) -> Topic:
    """Raises Misconfigured, naming the setting."""
    match = _ARN.fullmatch(arn)
    if match is None:
        raise Misconfigured(
            f"{setting}: {arn[:120]!r} is not the ARN of an SNS topic, as in "
            "arn:aws:sns:eu-west-1:123456789012:ses-events."
        )
    return Topic(arn, match[1], match[2])


@dataclass(frozen=True, slots=True)
class Envelope:
    """A message of SNS's whose form is right. Nothing is proved yet."""

    kind: Kind
    topic_arn: str
    sent_at: datetime
    message: str
    token: str
    version: str  # of the signature: "1" is SHA-1, "2" SHA-256
    signature: bytes
    certificate_url: str
    signed: bytes


def read_envelope(body: bytes) -> Envelope | None:
    """None for what is not in the form in which SNS writes.

    The form is held to the letter: signed values follow each other without quoting, so a line break in one
    of them could pass for the next.
    """
    entry = fields(body)
    if entry is None:
        return None
    try:
        kind = Kind(_string(entry, "Type"))
        sent_at = _moment(_string(entry, "Timestamp"))
        signed = _signed_bytes(entry, kind)
    except ValueError:
        return None
    token = _string(entry, "Token") if kind is not Kind.NOTIFICATION else ""
    signature = _signature(_string(entry, "Signature"))
    formed = (
        _MESSAGE_ID.fullmatch(_string(entry, "MessageId"))
        and "\n" not in _string(entry, "Subject") + _string(entry, "SubscribeURL")
        and (kind is Kind.NOTIFICATION or _TOKEN.fullmatch(token))
        and _string(entry, "SignatureVersion") in ("1", "2")
    )
    if not formed or signature is None:
        return None
    return Envelope(
        kind=kind,
        topic_arn=_string(entry, "TopicArn"),
        sent_at=sent_at,
        message=_string(entry, "Message"),
        token=token,
        version=_string(entry, "SignatureVersion"),
        signature=signature,
        certificate_url=_string(entry, "SigningCertURL"),
        signed=signed,
    )


def certificate_file(url: str, base_url: str) -> str | None:
    """The file's path, if the URL is of this very address and names a certificate; None else. Compared as
    text: there is nothing of it to parse, so no two parsers can differ."""
    if not url.startswith(base_url):
        return None
    path = url[len(base_url) :]
    return path if _CERTIFICATE_FILE.fullmatch(path) else None


def _signed_bytes(entry: Entry, kind: Kind) -> bytes:
    """Raises ValueError where a field is missing that must be signed."""
    lines = []
    for name in _SIGNED[kind]:
        value = entry.get(name)
        if value is None and name == "Subject":
            continue
        if not isinstance(value, str):
            raise ValueError(name)
        lines.append(f"{name}\n{value}\n")
    return "".join(lines).encode("utf-8")


def _signature(written: str) -> bytes | None:
    if not _SIGNATURE.fullmatch(written):
        return None
    try:
        return base64.b64decode(written, validate=True)
    except ValueError:
        return None


def _moment(timestamp: str) -> datetime:
    if not _TIMESTAMP.fullmatch(timestamp):
        raise ValueError(timestamp)
    return datetime.fromisoformat(timestamp)


def _string(entry: Entry, name: str) -> str:
    value = entry.get(name)
    return value if isinstance(value, str) else ""
