"""What the evidence about one recipient comes to.

Evidence is read from the most to the least specific: what the server said of this recipient, what the
reporter says of it, the whole notice, its subject. Words win over codes, which are often wrong, unless the
words are vague.
"""

import re
from collections.abc import Iterator, Sequence, Set
from dataclasses import dataclass
from typing import Final

from posthouse.domain.event import BounceClass
from posthouse.ingest.bounces.normal import normal, shown
from posthouse.ingest.bounces.quoted import code_in, enhanced_in, replies_in
from posthouse.ingest.bounces.report import Recipient
from posthouse.replies.bounce_rules import Action, Reason, Rule, by_code, by_words, meaning, phrases_in

_BETWEEN_PARAGRAPHS = re.compile(r"\n[ \t]{0,20}\n")
_MAX_PARAGRAPHS: Final = 40


@dataclass(frozen=True, slots=True)
class Evidence:
    """About one recipient. `words` is what is said of it, `rest` what else is said."""

    address: str
    status: str = ""
    diagnostic: str = ""
    words: str = ""
    rest: str = ""


@dataclass(frozen=True, slots=True)
class _Said:
    """A text with the code that belongs to it."""

    text: str
    status: str


def decide(evidence: Evidence) -> Recipient:
    """A recipient that did not get the mail."""
    said = list(_sayings(evidence))
    status = _status(evidence.status, said)
    around = phrases_in(normal(f"{evidence.diagnostic}\n{evidence.words}"))
    rule = _rule(said, status, around)
    diagnostic = said[0].text if said else ""
    if rule is not None:
        if diagnostic == evidence.words:
            diagnostic = _telling(diagnostic, rule, status, around)
        return told(evidence.address, rule.reason, rule.name, status, shown(diagnostic))
    reason = Reason.EXPIRED if status.startswith("4") else Reason.UNKNOWN
    return told(evidence.address, reason, "nothing_says_why", status, shown(diagnostic))


def told(address: str, reason: Reason, rule: str, status: str = "", diagnostic: str = "") -> Recipient:
    """A recipient of whom `reason` is known."""
    what = meaning(reason)
    return Recipient(address, what.bounce, what.action, reason, status, diagnostic, rule)


def waiting(evidence: Evidence) -> Recipient:
    """A recipient for whom a server still tries: it will say how that ended, so nothing is done now."""
    found = decide(evidence)
    return Recipient(
        found.address, BounceClass.SOFT, Action.NONE, found.reason, found.status, found.diagnostic, found.rule
    )


def _sayings(evidence: Evidence) -> Iterator[_Said]:
    """From the most to the least specific."""
    reported = evidence.status
    if evidence.diagnostic:
        code = code_in(evidence.diagnostic)
        yield _Said(evidence.diagnostic, _best(enhanced_in(evidence.diagnostic), reported, code))
    for reply in replies_in(evidence.words):
        yield _Said(reply.text, _best(reply.status, reported, reply.code))
    for text in (evidence.words, evidence.rest):
        if text:
            yield _Said(text, _best(enhanced_in(text), reported, code_in(text)))


def _best(quoted: str, reported: str, code: str) -> str:
    """The enhanced code that goes with a text: its own, else the reporter's, else one for its reply code."""
    if quoted or (reported and not reported.endswith(".0.0")):
        return quoted or reported
    return f"{code[0]}.0.0" if code else reported


def _status(reported: str, said: Sequence[_Said]) -> str:
    """The reporter's own code, unless it says nothing and a server's says more."""
    if reported and not reported.endswith(".0.0"):
        return reported
    quoted = next((one.status for one in said if one.status and not one.status.endswith(".0.0")), "")
    return quoted or reported or next((one.status for one in said if one.status), "")


def _telling(text: str, rule: Rule, status: str, around: Set[str]) -> str:
    """The paragraph of a notice that says why; all of it where none does so alone."""
    for paragraph in _BETWEEN_PARAGRAPHS.split(text, _MAX_PARAGRAPHS):
        if by_words(phrases_in(normal(paragraph)), enhanced_in(paragraph) or status, around) is rule:
            return paragraph
    return text


def _rule(said: Sequence[_Said], status: str, around: Set[str]) -> Rule | None:
    vague: Rule | None = None
    for one in said:
        found = by_words(phrases_in(normal(one.text)), one.status or status, around)
        if found is not None and not found.vague:
            return found
        vague = vague or found
    code = by_code(status)
    if code is not None and (vague is None or meaning(code.reason).bounce is BounceClass.HARD):
        return code
    return vague
