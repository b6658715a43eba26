"""What a mail server's reply means for the mail, the address, the account.

The first digit says whether another try makes sense, the enhanced code (RFC 3463) says whose matter it is,
and words count only where a provider is known to give a code another meaning. The rules are data
(`smtp_replies.toml`): the first that fits wins.
"""

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from importlib import resources
from typing import TypeAlias

_RULES_FILE = "smtp_replies.toml"
_MAX_WORDS = 2_000  # characters of a reply that rules look at


class Stage(StrEnum):
    """What the reply answers."""

    CONNECT = "connect"  # the greeting
    EHLO = "ehlo"
    STARTTLS = "starttls"
    AUTH = "auth"
    MAIL = "mail"
    RCPT = "rcpt"
    DATA = "data"
    FINAL_DOT = "final_dot"


class ReplyClass(StrEnum):
    """Whose matter a reply is, and so what becomes of the mail."""

    ACCEPTED = "accepted"
    TRY_LATER = "try_later"  # this mail, not now
    GREYLISTED = "greylisted"  # this mail, not now; the wait is the point
    THROTTLED = "throttled"  # this account sends too fast or has used up its quota
    HARD_RECIPIENT = "hard_recipient"  # the address is dead
    SOFT_RECIPIENT = "soft_recipient"  # the mailbox is full or resting
    BLOCK = "block"  # policy or reputation: our matter, never the address's
    MESSAGE = "message"  # this content, whoever it is for
    PARAMETERS = "parameters"  # a MAIL or RCPT parameter that the server had offered and does not take
    ACCOUNT = "account"  # credentials, permission
    RELAY_DOWN = "relay_down"  # the server takes nothing from anybody, or nothing from us
    PROTOCOL = "protocol"  # a bug or a setting, on one side or the other


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a reply means. `rule` names the rule that decided; `retry_after` is a range in seconds."""

    reply_class: ReplyClass
    rule: str
    retry_after: tuple[float, float] | None = None


@dataclass(frozen=True, slots=True)
class Example:
    stage: Stage
    reply: str


@dataclass(frozen=True, slots=True)
class Rule:
    """One row. Every condition that is given must hold; an empty one always holds."""

    verdict: Verdict
    stages: frozenset[Stage]
    codes: tuple[str, ...]  # prefixes: "4", "45", "450"
    enhanced: tuple[tuple[str, ...], ...]  # three parts, "*" for any; ("-",) for none
    words: tuple[str, ...]  # one of these, in lower case
    provider: str
    source: str
    example: Example

    def fits_code(self, stage: Stage, code: int) -> bool:
        return (not self.stages or stage in self.stages) and (
            not self.codes or str(code).startswith(self.codes)
        )

    def fits_words(self, enhanced: Sequence[str], words: str) -> bool:
        if self.enhanced and not any(_matches(pattern, enhanced) for pattern in self.enhanced):
            return False
        return not self.words or any(word in words for word in self.words)


def _matches(pattern: Sequence[str], enhanced: Sequence[str]) -> bool:
    if pattern == ("-",):
        return not enhanced
    return len(enhanced) == len(pattern) and all(
        want in ("*", have) for want, have in zip(pattern, enhanced, strict=True)
    )


_ACCEPTED = Verdict(ReplyClass.ACCEPTED, "positive_completion")
_OUT_OF_STEP = Verdict(ReplyClass.PROTOCOL, "out_of_step")


def classify(stage: Stage, code: int, enhanced: str | None, text: str) -> Verdict:
    """The meaning of a reply. Total: every code from every peer has one (RFC 5321 section 4.2.1).

    `enhanced` is a status code of RFC 3463 or None; `text` the words of the reply.
    """
    if stage is Stage.DATA:
        if code == 354:
            return _ACCEPTED
    elif 200 <= code < 300:
        return _ACCEPTED
    parts = enhanced.split(".") if enhanced else []
    words = text[:_MAX_WORDS].lower()
    for rule in _candidates(stage, code):
        if rule.fits_words(parts, words):
            return rule.verdict
    return _OUT_OF_STEP


_cache: dict[tuple[Stage, int], tuple[Rule, ...]] = {}


def _candidates(stage: Stage, code: int) -> tuple[Rule, ...]:
    """The rules whose stage and code fit. There are few codes, so each is looked up once."""
    if not 200 <= code < 600:
        return ()
    key = (stage, code)
    found = _cache.get(key)
    if found is None:
        found = _cache[key] = tuple(rule for rule in RULES if rule.fits_code(stage, code))
    return found


#: What TOML has where the rules have it.
_Row: TypeAlias = Mapping[str, str | list[str] | list[float] | Mapping[str, str]]


def _texts(row: _Row, name: str) -> tuple[str, ...]:
    value = row.get(name, [])
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise TypeError(f"{_RULES_FILE}: {name} must be a list of strings")
    return tuple(str(item) for item in value)


def _text(row: Mapping[str, object], name: str) -> str:
    value = row.get(name, "")
    if not isinstance(value, str):
        raise TypeError(f"{_RULES_FILE}: {name} must be a string")
    return value


def _retry_after(row: _Row) -> tuple[float, float] | None:
    value = row.get("retry_after")
    if value is None:
        return None
    if not isinstance(value, list) or len(value) != 2:
        raise TypeError(f"{_RULES_FILE}: retry_after must be two numbers of seconds")
    return float(value[0]), float(value[1])


def _rule(row: _Row) -> Rule:
    example = row["example"]
    if not isinstance(example, Mapping):
        raise TypeError(f"{_RULES_FILE}: example must have a stage and a reply")
    return Rule(
        verdict=Verdict(ReplyClass(_text(row, "class")), _text(row, "name"), _retry_after(row)),
        stages=frozenset(map(Stage, _texts(row, "stages"))),
        codes=_texts(row, "codes"),
        enhanced=tuple(tuple(pattern.split(".")) for pattern in _texts(row, "enhanced")),
        words=_texts(row, "words"),
        provider=_text(row, "provider"),
        source=_text(row, "source"),
        example=Example(Stage(_text(example, "stage")), _text(example, "reply")),
    )


def _load() -> tuple[Rule, ...]:
    text = resources.files("posthouse.replies").joinpath(_RULES_FILE).read_text(encoding="utf-8")
    return tuple(_rule(row) for row in tomllib.loads(text)["rule"])


RULES = _load()
