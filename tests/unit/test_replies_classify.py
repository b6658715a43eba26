"""Every rule decides its own example, and the table as a whole decides what the standards say."""

import pytest

from posthouse.replies.classify import RULES, ReplyClass, Rule, Stage, classify
from posthouse.replies.reply import Reply, ReplyReader


def read(line: str) -> Reply:
    [reply] = ReplyReader().feed(line.encode() + b"\r\n")
    return reply


def meaning(stage: Stage, line: str) -> ReplyClass:
    reply = read(line)
    return classify(stage, reply.code, reply.enhanced, reply.text).reply_class


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.verdict.rule)
def test_each_rule_decides_its_own_example(rule: Rule) -> None:
    reply = read(rule.example.reply)
    assert classify(rule.example.stage, reply.code, reply.enhanced, reply.text) == rule.verdict


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.verdict.rule)
def test_each_rule_can_be_checked_by_a_reader(rule: Rule) -> None:
    assert rule.source.startswith("https://")
    assert rule.verdict.reply_class is not ReplyClass.ACCEPTED
    assert not rule.words or rule.provider, "words decide only for those known to use them"
    assert all(word == word.lower() for word in rule.words)
    if rule.verdict.retry_after is not None:
        soonest, latest = rule.verdict.retry_after
        assert 0 < soonest <= latest <= 86_400


def test_rule_names_are_unique() -> None:
    names = [rule.verdict.rule for rule in RULES]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize(
    ("stage", "line", "expected"),
    [
        (Stage.FINAL_DOT, "250 2.0.0 Ok: queued as ABC", ReplyClass.ACCEPTED),
        (Stage.DATA, "354 go ahead", ReplyClass.ACCEPTED),
        (Stage.DATA, "250 what?", ReplyClass.PROTOCOL),
        (Stage.MAIL, "354 what?", ReplyClass.PROTOCOL),
        (Stage.FINAL_DOT, "354 what?", ReplyClass.PROTOCOL),
        (Stage.CONNECT, "421 too many connections", ReplyClass.RELAY_DOWN),
        (Stage.CONNECT, "554 no service", ReplyClass.RELAY_DOWN),
        (Stage.AUTH, "454 4.7.0 later", ReplyClass.RELAY_DOWN),
        (Stage.AUTH, "535 bad", ReplyClass.ACCOUNT),
        (Stage.MAIL, "530 5.7.0 Must issue a STARTTLS command first", ReplyClass.ACCOUNT),
        (Stage.RCPT, "450 4.2.1 too fast", ReplyClass.GREYLISTED),
        (Stage.RCPT, "452 4.2.2 full", ReplyClass.SOFT_RECIPIENT),
        (Stage.RCPT, "552 5.2.2 full", ReplyClass.SOFT_RECIPIENT),
        (Stage.RCPT, "452 4.5.3 too many", ReplyClass.TRY_LATER),
        (Stage.RCPT, "450 4.1.1 unverified", ReplyClass.TRY_LATER),
        (Stage.FINAL_DOT, "421 4.3.0 later", ReplyClass.TRY_LATER),
        (Stage.RCPT, "550 5.1.1 gone", ReplyClass.HARD_RECIPIENT),
        (Stage.RCPT, "550 5.1.2 bad domain", ReplyClass.HARD_RECIPIENT),
        (Stage.RCPT, "556 5.1.10 null MX", ReplyClass.HARD_RECIPIENT),
        (Stage.RCPT, "550 5.2.1 disabled", ReplyClass.HARD_RECIPIENT),
        (Stage.RCPT, "550 5.0.0 unknown", ReplyClass.SOFT_RECIPIENT),
        (Stage.RCPT, "550 5.7.1 blocked", ReplyClass.BLOCK),
        (Stage.FINAL_DOT, "554 5.7.26 unauthenticated", ReplyClass.BLOCK),
        (Stage.MAIL, "552 5.3.4 too large", ReplyClass.MESSAGE),
        (Stage.FINAL_DOT, "554 5.6.7 SMTPUTF8 needed", ReplyClass.MESSAGE),
        (Stage.FINAL_DOT, "550 5.4.5 quota", ReplyClass.THROTTLED),
        (Stage.MAIL, "500 what?", ReplyClass.PROTOCOL),
        (Stage.RCPT, "501 5.1.3 bad syntax", ReplyClass.HARD_RECIPIENT),
    ],
)
def test_the_table_of_reply_classes(stage: Stage, line: str, expected: ReplyClass) -> None:
    assert meaning(stage, line) is expected


@pytest.mark.parametrize("stage", Stage)
def test_the_first_digit_decides_whether_to_try_again(stage: Stage) -> None:
    """A 4yz never ends a mail for good, whatever its enhanced code claims."""
    ends = {ReplyClass.HARD_RECIPIENT, ReplyClass.BLOCK, ReplyClass.MESSAGE, ReplyClass.PROTOCOL}
    for subject in range(8):
        for detail in range(30):
            verdict = classify(stage, 450, f"5.{subject}.{detail}", "no")
            assert verdict.reply_class not in ends, verdict
