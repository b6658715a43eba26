"""Every rule of why mail comes back decides its own example, and a reader can check it."""

import pytest

from posthouse.domain.event import BounceClass
from posthouse.ingest.bounces.decide import Evidence, decide
from posthouse.ingest.bounces.normal import normal
from posthouse.replies.bounce_notices import NOTICES, Notice, Says
from posthouse.replies.bounce_rules import (
    REASONS,
    RULES,
    Action,
    Reason,
    Rule,
    by_code,
    meaning,
    read_status,
)
from posthouse.replies.classify import ReplyClass, Stage, classify
from posthouse.replies.phrases import Phrase, PhraseBook

WORDS = [rule for rule in RULES if rule.phrases or rule.around]
CODES = [rule for rule in RULES if not (rule.phrases or rule.around)]


@pytest.mark.parametrize("rule", WORDS, ids=lambda rule: rule.name)
def test_each_rule_of_words_decides_its_own_example(rule: Rule) -> None:
    found = decide(Evidence("ann@example.org", diagnostic=rule.example))
    assert (found.rule, found.reason) == (rule.name, rule.reason)
    assert (found.bounce, found.action) == (meaning(rule.reason).bounce, meaning(rule.reason).action)


@pytest.mark.parametrize("rule", CODES, ids=lambda rule: rule.name)
def test_each_rule_of_codes_decides_its_own_example(rule: Rule) -> None:
    assert by_code(rule.example) == rule
    assert decide(Evidence("ann@example.org", status=rule.example)).reason is rule.reason


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.name)
def test_each_rule_can_be_checked_by_a_reader(rule: Rule) -> None:
    assert rule.source.startswith("https://")
    texts = (*rule.phrases, *rule.unless, *rule.around)
    assert [text for text in texts if text != " ".join(text.lower().split())] == []
    assert not any(text.startswith("*") for text in texts)
    assert len(set(rule.phrases)) == len(rule.phrases)


def test_names_are_given_once_and_every_reason_has_a_meaning() -> None:
    assert len({rule.name for rule in RULES}) == len(RULES)
    assert set(REASONS) == set(Reason)
    assert all(found.means for found in REASONS.values())
    told_otherwise = {Reason.UNKNOWN, Reason.FEEDBACK, Reason.VACATION, Reason.DELIVERED}
    assert {rule.reason for rule in RULES} == set(Reason) - told_otherwise


def test_what_is_done_follows_from_the_class() -> None:
    done = {
        BounceClass.HARD: Action.SUPPRESS,
        BounceClass.SOFT: Action.RETRY,
        BounceClass.BLOCK: Action.NONE,
    }
    for reason, found in REASONS.items():
        assert found.bounce is None or found.action is done[found.bounce], reason


@pytest.mark.parametrize("subject", range(8))
def test_codes_mean_the_same_in_a_report_and_in_a_live_session(subject: int) -> None:
    """5.2.1 apart: whoever reports a disabled mailbox has waited already, and we come back a day later."""
    for detail in range(40):
        code = f"5.{subject}.{detail}"
        rule = by_code(code)
        if rule is None or code == "5.2.1":
            continue
        hard = classify(Stage.RCPT, 550, code, "").reply_class is ReplyClass.HARD_RECIPIENT
        assert (meaning(rule.reason).bounce is BounceClass.HARD) == hard, code


@pytest.mark.parametrize("notice", NOTICES, ids=lambda notice: notice.name)
def test_each_notice_is_in_its_own_example(notice: Notice) -> None:
    text = normal(notice.example) if notice.says is not Says.RETURNED else notice.example.lower()
    assert any(Phrase(phrase).within(text) for phrase in notice.phrases)
    assert notice.source.startswith("https://")
    assert [phrase for phrase in notice.phrases if phrase != phrase.lower()] == []
    if notice.says is Says.RETURNED:
        assert not any("*" in phrase for phrase in notice.phrases)


@pytest.mark.parametrize(
    ("phrase", "text", "within"),
    [
        ("user unknown", "550 user unknown", True),
        ("rbl", "a superblock", False),
        ("rbl", "superblock rbl", True),
        ("user * unknown", "user ann is unknown", True),
        ("user * unknown", "unknown user", False),
        ("user * unknown", f"user {'x' * 200} unknown", False),
        ("不存在", "收件人不存在", True),
        ("throttl", "throttled", True),
    ],
)
def test_phrases(phrase: str, text: str, within: bool) -> None:
    assert Phrase(phrase).within(text) is within
    assert PhraseBook([phrase, "something else"]).found_in(text) == ({phrase} if within else set())


@pytest.mark.parametrize(
    ("status", "parts"), [("5.1.1", ("5", "1", "1")), ("5.1", ()), ("", ()), ("9.1.1", ()), ("5.1.1234", ())]
)
def test_statuses_are_read_whole_or_not_at_all(status: str, parts: tuple[str, ...]) -> None:
    assert read_status(status) == parts


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        ("550 5.7.1 <a@b.example>: Recipient address rejected: User unknown", Reason.USER_UNKNOWN),
        ("550 5.1.1 Your mail was blocked by our spam filter", Reason.SPAM),
        ("550 5.1.1 rejected: DMARC policy of the sender", Reason.AUTHENTICATION),
        ("550 5.1.1 Client host [192.0.2.1] blocked using zen.spamhaus.org", Reason.BLOCKED_IP),
        ("550 5.1.1 message refused by local policy", Reason.POLICY),
        ("550 5.0.0 user is over quota", Reason.MAILBOX_FULL),
        ("554 5.0.0 the mailbox is full and the user unknown", Reason.MAILBOX_FULL),
        ("554 dd This user doesn't have a yahoo.com account (a@b.example) [0]", Reason.USER_UNKNOWN),
        ("550 5.4.1 Recipient address rejected: Access denied. AS(201806281)", Reason.USER_UNKNOWN),
        ("554 5.7.1 <a@b.example>: Recipient address rejected: Access denied", Reason.USER_UNKNOWN),
        ("450 4.7.1 <a@b.example>: Recipient address rejected: Access denied", Reason.RESTRICTED),
        ("550 5.2.1 The user is receiving mail at a rate that prevents additional messages", Reason.RATE),
        ("554 5.7.1 Relay access denied", Reason.RELAY_DENIED),
        ("550 5.1.8 <shop@us.example>: Sender address rejected: Domain not found", Reason.SENDER_REJECTED),
        ("450 4.4.3 Host not found, try again", Reason.NETWORK),
        ("550 5.4.4 Host or domain name not found. type=MX: Host not found", Reason.HOST_UNKNOWN),
        ("550 Requested action not taken: mailbox unavailable", Reason.USER_UNKNOWN),
        ("550 5.7.1 Requested action not taken: mailbox unavailable", Reason.POLICY),
        ("550-5.1.1 The account that you tried to reach does\n550-5.1.1 not exist", Reason.USER_UNKNOWN),
        ("552-5.2.2 The recipient's inbox is out of storage space and inactive.", Reason.MAILBOX_FULL),
        ("550 5.1.1 no.such.user@spam.example is fine", Reason.USER_UNKNOWN),
        ("550 5.0.0 no.such.user@spam.example is fine", Reason.UNKNOWN),
        ("421 4.4.2 something", Reason.NETWORK),
        ("450 4.0.0 something", Reason.EXPIRED),
    ],
)  # fmt: skip
def test_words_and_codes_that_disagree(said: str, reason: Reason) -> None:
    assert decide(Evidence("a@b.example", diagnostic=said)).reason is reason
