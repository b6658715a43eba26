"""Was it a person who opened or clicked? Rules as data (machines.toml), each with its source.

A verdict never changes how a reader is answered: a scanner that is blocked costs reputation, and a person
behind one is a person.
"""

import re
from dataclasses import dataclass
from enum import StrEnum
from importlib import resources

import msgspec


class Act(StrEnum):
    OPEN = "open"
    CLICK = "click"


class Verdict(StrEnum):
    YES = "yes"
    LIKELY = "likely"
    NO = "no"


@dataclass(frozen=True, slots=True)
class Judgement:
    """`reason` is the rule that decided, in words."""

    verdict: Verdict
    reason: str

    @property
    def is_machine(self) -> bool:
        """Only what is certain is counted apart; "likely" is shown, and counted as a person."""
        return self.verdict is Verdict.YES


class _Rule(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename={"acts": "of"}):
    """Fits when each of its conditions does; lists are alternatives. Texts are in lower case."""

    verdict: Verdict
    reason: str
    source: str
    acts: frozenset[Act] = frozenset(Act)
    methods: frozenset[str] | None = None
    agent_is: frozenset[str] | None = None
    agent_has: tuple[str, ...] | None = None
    agent_matches: str | None = None
    referrer_hosts: tuple[str, ...] | None = None  # the host itself or one below it
    sooner_than: float | None = None  # seconds since the mail was sent


class _Rules(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    rule: tuple[_Rule, ...]


@dataclass(frozen=True, slots=True)
class _Signs:
    act: Act
    agent: str | None
    referrer_host: str
    method: str
    seconds_since_sent: float | None


@dataclass(frozen=True, slots=True)
class _Test:
    """A rule with its texts compiled into one linear search each."""

    rule: _Rule
    agent: re.Pattern[str] | None
    referrer: re.Pattern[str] | None

    def fits(self, signs: _Signs) -> bool:
        rule = self.rule
        return (
            signs.act in rule.acts
            and (rule.methods is None or signs.method in rule.methods)
            and (rule.agent_is is None or signs.agent in rule.agent_is)
            and (self.agent is None or (signs.agent is not None and bool(self.agent.search(signs.agent))))
            and (self.referrer is None or bool(self.referrer.search(signs.referrer_host)))
            and (
                rule.sooner_than is None
                or (signs.seconds_since_sent is not None and signs.seconds_since_sent < rule.sooner_than)
            )
        )


_PERSON = Judgement(Verdict.NO, "nothing speaks for a machine")

#: What is read of a header; the rest of a longer one decides nothing.
_LONGEST = 1000


def judge(
    act: Act,
    *,
    user_agent: str | None,
    referrer: str | None = None,
    method: str = "GET",
    seconds_since_sent: float | None = None,
) -> Judgement:
    """The first rule that fits decides. `user_agent`: "" when none was sent, None when we were not told."""
    signs = _Signs(
        act=act,
        agent=None if user_agent is None else user_agent[:_LONGEST].strip().lower(),
        referrer_host=_host(referrer or ""),
        method=method.upper(),
        seconds_since_sent=seconds_since_sent,
    )
    return next(
        (Judgement(test.rule.verdict, test.rule.reason) for test in _TESTS if test.fits(signs)), _PERSON
    )


def _host(referrer: str) -> str:
    _, found, rest = referrer[:_LONGEST].partition("://")
    if not found:
        return ""
    authority = re.split(r"[/?#\\]", rest, maxsplit=1)[0]
    return authority.rpartition("@")[2].partition(":")[0].lower()


def _alternatives(texts: tuple[str, ...] | None, template: str) -> str | None:
    return None if texts is None else template.format("|".join(map(re.escape, texts)))


def _compiled(rule: _Rule) -> _Test:
    agent = rule.agent_matches or _alternatives(rule.agent_has, "{}")
    referrer = _alternatives(rule.referrer_hosts, r"(?:^|\.)(?:{})$")
    return _Test(
        rule,
        None if agent is None else re.compile(agent),
        None if referrer is None else re.compile(referrer),
    )


_TESTS = tuple(
    _compiled(rule)
    for rule in msgspec.toml.decode(
        (resources.files("posthouse.ingest") / "machines.toml").read_bytes(), type=_Rules
    ).rule
)
