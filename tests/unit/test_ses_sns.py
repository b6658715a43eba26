"""SNS at the door: real messages, look-alike certificates, what is fetched for whom, and subscriptions.

`sns_published/` holds messages that SNS signed and the certificate it served for them, as the test data of
AWS's own SDK for Java has them (github.com/aws/aws-sdk-java-v2, services-custom/sns-message-manager).
"""

import asyncio
import json
import random
import string
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from sns_side import (
    ALLOWED,
    ARN,
    BASE,
    FILE,
    NOW,
    FakeSns,
    body,
    certificate,
    envelope,
    sign,
    stamp,
    subscription,
)
from test_ingest_receive import Log

from posthouse.clock import ManualClock
from posthouse.domain.errors import Misconfigured, NotNow
from posthouse.domain.ids import RelayAccount
from posthouse.ingest.receive import Received, Receiver
from posthouse.relays.base import Handshaker, RawCallback
from posthouse.relays.ses.callbacks import SesCallbacks
from posthouse.relays.ses.certificates import FETCHES_PER_MINUTE, read_certificate
from posthouse.relays.ses.sns import certificate_file, topic_of
from posthouse.relays.ses.sns_web import AllowedTopic

PUBLISHED = Path(__file__).parent / "sns_published"
ACCOUNT = RelayAccount("ses")
SIGNERS = ALLOWED.topic.signers


def reader(sns: FakeSns, clock: ManualClock | None = None, allowed: AllowedTopic = ALLOWED) -> SesCallbacks:
    return SesCallbacks(ACCOUNT, [allowed], sns, clock or ManualClock(NOW))


def callback(posted: bytes) -> RawCallback:
    return RawCallback("ses", ACCOUNT, {}, posted)


async def taken(posted: bytes, sns: FakeSns, clock: ManualClock | None = None) -> tuple[Received, int]:
    """What the door says, and how much it stored."""
    log = Log()
    told = await Receiver({("ses", ACCOUNT): reader(sns, clock)}, log).receive(callback(posted))
    return told, len(log.stored)


@pytest.mark.parametrize(
    "name", ["subscription-v1", "unsubscription-v2", "notification-subject-v1", "notification-v2"]
)
async def test_what_sns_really_signed_is_genuine(name: str) -> None:
    posted = (PUBLISHED / f"{name}.json").read_bytes()
    said = json.loads(posted)
    base = "https://sns.us-west-2.amazonaws.com"
    sns = FakeSns(files={said["SigningCertURL"]: (PUBLISHED / "certificate.pem").read_bytes()})
    allowed = AllowedTopic(topic_of(said["TopicArn"], "topic_arns"), base)
    ours = reader(sns, ManualClock(datetime(2026, 3, 6, 20, 5, tzinfo=UTC)), allowed)
    await ours.prepare(callback(posted))
    assert ours.verify(callback(posted))
    assert ours.verify(callback(json.dumps(said).encode())), "values are signed, not the body"
    assert not ours.verify(callback(body({**said, "Message": said["Message"] + "."})))


@pytest.mark.parametrize("version", ["1", "2"])
async def test_both_versions_of_the_signature_pass(version: str) -> None:
    sns = FakeSns()
    assert await taken(body(sign(envelope("{}", SignatureVersion=version))), sns) == (Received.STORED, 1)
    assert await taken(body(sign(envelope("{}", SignatureVersion=version, Subject=None))), sns) == (
        Received.STORED,
        1,
    )
    assert sns.fetched == [BASE + FILE] * 2  # once for each reader


@pytest.mark.parametrize(
    "url",
    [
        f"https://sns.eu-west-1.amazonaws.com.evil.example{FILE}",
        f"https://sns.amazonaws.com@evil.example{FILE}",
        f"https://sns.eu-west-1.amazonaws.com@evil.example{FILE}",
        f"https://user:pass@sns.eu-west-1.amazonaws.com{FILE}",
        f"https://sns.eu-west-1.amazonaws.com:443{FILE}",
        f"https://sns.eu-west-1.amazonaws.com:8443{FILE}",
        f"http://sns.eu-west-1.amazonaws.com{FILE}",
        f"HTTPS://sns.eu-west-1.amazonaws.com{FILE}",
        f"https://sns.us-east-1.amazonaws.com{FILE}",  # another region's
        f"https://sns.eu-west-1.amazonaws.com.cn{FILE}",
        f"https://sns.eu-west-1.amazonaws.com.{FILE}",
        f"https://sns.eu-west-1.amazonaws.com/{FILE}",
        f"https://sns.eu-west-1.amazonaws.com\\@evil.example{FILE}",
        f"https://sns.eu-west-1.amazonaws.com/x/..{FILE}",
        f"https://sns.eu-west-1.amazonaws.com{FILE}#x",
        f"https://sns.eu-west-1.amazonaws.com{FILE}?x=y",
        f"https://sns.eu-west-1.amazonaws.com{FILE}\n",
        f" https://sns.eu-west-1.amazonaws.com{FILE}",
        "https://sns.eu-west-1.amazonaws.com/SimpleNotificationService-.pem",
        "https://sns.eu-west-1.amazonaws.com/SimpleNotificationService-0123456789abcdef.PEM",
        "https://sns.eu-west-1.amazonaws.com/SimpleNotificationService-%30123456789abcdef.pem",
        "https://sns.eu-west-1.amazonaws.com/?Action=ConfirmSubscription&x=.pem",
        "https://s3.amazonaws.com/bucket/SimpleNotificationService-0123456789abcdef.pem",
        "file:///etc/passwd",
        "//sns.eu-west-1.amazonaws.com" + FILE,
        "",
        None,
    ],
)
async def test_a_look_alike_address_is_refused_and_never_called(url: str | None) -> None:
    sns = FakeSns()
    assert await taken(body(sign(envelope("{}", SigningCertURL=url))), sns) == (Received.BAD_SIGNATURE, 0)
    assert sns.fetched == []
    assert certificate_file(url or "", BASE) is None


@pytest.mark.parametrize(
    "changed",
    [
        {"TopicArn": ARN.replace("ses-events", "another")},
        {"TopicArn": ARN.replace("123456789012", "210987654321")},
        {"TopicArn": ARN + "\n"},
        {"TopicArn": ""},
        {"Timestamp": stamp(NOW - timedelta(days=2))},
        {"Timestamp": stamp(NOW + timedelta(days=2))},
        {"Timestamp": "yesterday"},
        {"Type": "Invitation"},
        {"Type": None},
        {"SignatureVersion": "3"},
        {"MessageId": "22b80b92-fdea-4c2c-8f9d-bdfb0c7bf32\n"},
        {"Subject": "x\nTimestamp\n2026"},
    ],
)
async def test_what_is_not_ours_or_not_in_form_costs_no_fetch(changed: dict[str, str | None]) -> None:
    sns = FakeSns()
    assert await taken(body(sign(envelope("{}", NOW, **changed))), sns) == (Received.BAD_SIGNATURE, 0)
    assert sns.fetched == []


@pytest.mark.parametrize("off", [timedelta(hours=1), -timedelta(hours=1), timedelta(hours=2, minutes=5)])
async def test_a_clock_that_is_an_hour_off_costs_no_event(off: timedelta) -> None:
    sent = body(sign(envelope("{}", NOW - off)))
    assert await taken(sent, FakeSns()) == (Received.STORED, 1)


async def test_ten_thousand_mutations_are_refused_and_fetch_nothing() -> None:
    sns, rng = FakeSns(), random.Random(7)
    ours = reader(sns)
    door = Receiver({("ses", ACCOUNT): ours}, log := Log())
    genuine = sign(envelope(json.dumps({"eventType": "Delivery", "mail": {"messageId": "x"}})))
    assert await door.receive(callback(body(genuine))) is Received.STORED
    values = sorted(set(genuine) - {"UnsubscribeURL", "SigningCertURL"})
    alphabet = string.ascii_letters + string.digits + '+/=:-.{}"\n é'
    for _ in range(10_000):
        name = rng.choice(values)
        old = genuine[name]
        at = rng.randrange(len(old))
        new = rng.choice(alphabet.replace(old[at], ""))
        cut = rng.choice([0, 1])  # replaced, or put in between
        changed = old[:at] + new + old[at + cut :]
        if name == "Signature" and changed.rstrip("=")[:-1] == old.rstrip("=")[:-1]:
            continue  # the last character holds bits that base64 leaves unused
        told = await door.receive(callback(body({**genuine, name: changed})))
        assert told is Received.BAD_SIGNATURE, (name, changed)
    assert sns.fetched == [BASE + FILE]
    assert len(log.stored) == 1


async def test_made_up_certificate_names_cost_a_few_fetches_and_never_the_good_one() -> None:
    sns, clock = FakeSns(), ManualClock(NOW)
    ours = reader(sns, clock)
    door = Receiver({("ses", ACCOUNT): ours}, Log())
    genuine = sign(envelope("{}"))
    assert await door.receive(callback(body(genuine))) is Received.STORED
    answers = set()
    for n in range(1000):
        forged = {**genuine, "SigningCertURL": f"{BASE}/SimpleNotificationService-{n:032x}.pem"}
        answers.add(await door.receive(callback(body(forged))))
    assert answers == {Received.BAD_SIGNATURE, Received.UNAVAILABLE}
    assert len(sns.fetched) == FETCHES_PER_MINUTE
    assert await door.receive(callback(body(genuine))) is Received.STORED
    clock.advance(61.0)
    forged = {**genuine, "SigningCertURL": f"{BASE}/SimpleNotificationService-{0:032x}.pem"}
    assert await door.receive(callback(body(forged))) is Received.BAD_SIGNATURE
    assert len(sns.fetched) == FETCHES_PER_MINUTE, "a bad one is remembered"


async def test_many_at_once_fetch_a_certificate_once() -> None:
    sns = FakeSns()
    door = Receiver({("ses", ACCOUNT): reader(sns)}, Log())
    posted = [callback(body(sign(envelope(f'{{"n":{n}}}')))) for n in range(20)]
    assert set(await asyncio.gather(*map(door.receive, posted))) == {Received.STORED}
    assert sns.fetched == [BASE + FILE]


async def test_while_the_certificate_cannot_be_had_sns_is_to_repeat() -> None:
    sns, clock = FakeSns(files={BASE + FILE: None}), ManualClock(NOW)
    ours = reader(sns, clock)
    door = Receiver({("ses", ACCOUNT): ours}, Log())
    posted = callback(body(sign(envelope("{}"))))
    assert await door.receive(posted) is Received.UNAVAILABLE
    sns.files[BASE + FILE] = certificate()
    assert await door.receive(posted) is Received.STORED


def small() -> bytes:
    return certificate(key=rsa.generate_private_key(public_exponent=65537, key_size=1024))


@pytest.mark.parametrize(
    ("served", "kept"),
    [
        (certificate(), True),
        (certificate("sns-signing.eu-west-1.amazonaws.com"), True),
        (certificate("evil.example"), False),
        (certificate("sns.amazonaws.com.evil.example"), False),
        (certificate("*.amazonaws.com"), False),
        (small(), False),
        (b"", False),
        (b"<html>not found</html>", False),
        (b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", False),
        (
            ec.generate_private_key(ec.SECP256R1())
            .public_key()
            .public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo),
            False,
        ),
    ],
)
def test_only_a_certificate_of_snss_is_kept(served: bytes, kept: bool) -> None:
    assert (read_certificate(served, SIGNERS) is not None) is kept


@pytest.mark.parametrize(
    ("begins", "ends"),
    [
        (NOW - timedelta(days=400), NOW - timedelta(seconds=1)),
        (NOW + timedelta(seconds=1), NOW + timedelta(days=300)),
    ],
)
async def test_a_certificate_out_of_its_days_proves_nothing(begins: datetime, ends: datetime) -> None:
    sns = FakeSns(files={BASE + FILE: certificate(begins=begins, ends=ends)})
    assert await taken(body(sign(envelope("{}"))), sns) == (Received.BAD_SIGNATURE, 0)


async def test_a_subscription_is_confirmed_at_our_own_address_for_it() -> None:
    sns = FakeSns()
    assert isinstance(reader(sns), Handshaker)
    assert await taken(body(sign(subscription())), sns) == (Received.STORED, 1)
    assert sns.confirmed == [(ARN, "2336412f37fb687f5d51e6e2425e")]
    assert sns.fetched == [BASE + FILE], "SubscribeURL is not followed"
    assert reader(sns).parse(callback(body(sign(subscription())))) == ([], [])


async def test_a_confirmation_that_fails_is_to_be_repeated() -> None:
    sns = FakeSns(trouble="HTTP 500")
    assert await taken(body(sign(subscription())), sns) == (Received.UNAVAILABLE, 0)


async def test_strangers_subscriptions_and_goodbyes_confirm_nothing() -> None:
    sns = FakeSns()
    stranger = subscription() | {"TopicArn": ARN.replace("ses-events", "another")}
    assert await taken(body(sign(stranger)), sns) == (Received.BAD_SIGNATURE, 0)
    unsigned = sign(subscription()) | {"Token": "1234"}
    assert await taken(body(unsigned), sns) == (Received.BAD_SIGNATURE, 0)
    assert await taken(body(sign(subscription("UnsubscribeConfirmation"))), sns) == (Received.STORED, 1)
    assert sns.confirmed == []


async def test_without_topics_nothing_posted_is_genuine() -> None:
    sns = FakeSns()
    ours = SesCallbacks(ACCOUNT, [], sns, ManualClock(NOW))
    await ours.prepare(callback(body(sign(envelope("{}")))))
    assert not ours.verify(callback(body(sign(envelope("{}")))))
    assert sns.fetched == []


@pytest.mark.parametrize(
    ("arn", "host", "signer"),
    [
        (ARN, "sns.eu-west-1.amazonaws.com", "sns.amazonaws.com"),
        (
            "arn:aws:sns:af-south-1:123456789012:t",
            "sns.af-south-1.amazonaws.com",
            "sns-signing.af-south-1.amazonaws.com",
        ),
        (
            "arn:aws-cn:sns:cn-north-1:123456789012:t",
            "sns.cn-north-1.amazonaws.com.cn",
            "sns-cn-north-1.amazonaws.com.cn",
        ),
        (
            "arn:aws-us-gov:sns:us-gov-east-1:123456789012:t",
            "sns.us-gov-east-1.amazonaws.com",
            "sns-us-gov-west-1.amazonaws.com",
        ),
    ],
)
def test_each_region_has_its_address_and_its_signers(arn: str, host: str, signer: str) -> None:
    topic = topic_of(arn, "topic_arns")
    assert topic.host == host
    assert signer in topic.signers


@pytest.mark.parametrize("arn", ["", "ses-events", ARN + "/x", ARN.replace("sns", "sqs"), "arn:aws:sns:::"])
def test_what_is_no_topic_is_said_at_the_start(arn: str) -> None:
    with pytest.raises(Misconfigured, match="topic_arns"):
        topic_of(arn, "topic_arns")


async def test_too_many_unknown_certificates_in_a_minute_are_for_later() -> None:
    ours = reader(FakeSns(files=dict.fromkeys([BASE + FILE], None)))
    posted = callback(body(sign(envelope("{}"))))
    for _ in range(FETCHES_PER_MINUTE + 2):
        with pytest.raises(NotNow):
            await ours.prepare(posted)
