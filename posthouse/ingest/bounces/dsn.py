"""Delivery status notifications: the fields of RFC 3464 and RFC 6533, and what is sent in their name.

Blank lines between recipients are missing or too many, parts have the wrong type, continuations no
indentation: so a recipient begins where one of its fields comes again, whatever stands between.
"""

import re
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from posthouse.ingest.bounces.addresses import one_address

MAX_RECIPIENTS: Final = 200
_MAX_LINES: Final = 4_000
_MAX_VALUE: Final = 2_000

_FIELD = re.compile(r"\s{0,4}([A-Za-z][A-Za-z0-9-]{1,60})[ \t]{0,4}:(?!//)[ \t]*")
_STATUS = re.compile(r"(?<![\d.])([245]\.\d{1,3}\.\d{1,3})(?![\d.])")
_KIND = re.compile(r"^\s{0,8}[\w-]{1,20}\s{0,8};")
_RECIPIENT_FIELDS: Final = frozenset({"original-recipient", "final-recipient"})
_OF_A_RECIPIENT: Final = _RECIPIENT_FIELDS | {
    "action", "status", "diagnostic-code", "remote-mta", "last-attempt-date", "x-actual-recipient",
    "final-log-id", "will-retry-until",
}  # fmt: skip


class DsnAction(StrEnum):
    """RFC 3464 section 2.3.3."""

    FAILED = "failed"
    DELAYED = "delayed"
    DELIVERED = "delivered"
    RELAYED = "relayed"
    EXPANDED = "expanded"


@dataclass(frozen=True, slots=True)
class DsnRecipient:
    address: str
    action: DsnAction | None
    status: str  # an enhanced code or ""
    diagnostic: str


@dataclass(frozen=True, slots=True)
class Dsn:
    recipients: tuple[DsnRecipient, ...]
    envelope_id: str = ""


@dataclass(slots=True)
class _Group:
    """The fields of one recipient, as they come."""

    fields: dict[str, str] = field(default_factory=dict)

    def begins_anew(self, name: str, *, after_blank: bool) -> bool:
        """Whether a field belongs to the next recipient."""
        if name in self.fields and name in _OF_A_RECIPIENT:
            return name in _RECIPIENT_FIELDS or name == "action"
        return after_blank and name in _RECIPIENT_FIELDS and bool(_RECIPIENT_FIELDS & self.fields.keys())


def looks_like_dsn(text: str) -> bool:
    lowered = text[:20_000].lower()
    return "final-recipient:" in lowered or (
        "original-recipient:" in lowered and ("action:" in lowered or "status:" in lowered)
    )


def read_dsn(text: str) -> Dsn:
    groups = _groups(text)
    recipients = tuple(found for group in groups if (found := _recipient(group.fields)) is not None)[
        :MAX_RECIPIENTS
    ]
    envelope_id = next(
        (one.fields["original-envelope-id"] for one in groups if "original-envelope-id" in one.fields), ""
    )
    return Dsn(recipients, envelope_id)


def _groups(text: str) -> list[_Group]:
    groups = [_Group()]
    last, after_blank = "", False
    for line in text.split("\n", _MAX_LINES)[:_MAX_LINES]:
        found = None if line[:1] in " \t" and last else _FIELD.match(line)
        if not line.strip():
            after_blank, last = True, ""
        elif found is not None:
            last = found[1].lower()
            if groups[-1].begins_anew(last, after_blank=after_blank):
                groups.append(_Group())
            groups[-1].fields.setdefault(last, line[found.end() :].strip()[:_MAX_VALUE])
            after_blank = False
        elif last and len(groups[-1].fields[last]) < _MAX_VALUE:
            groups[-1].fields[last] += " " + line.strip()[:_MAX_VALUE]
        if len(groups) > MAX_RECIPIENTS:
            break
    return groups


def _recipient(fields: dict[str, str]) -> DsnRecipient | None:
    if not _OF_A_RECIPIENT & fields.keys():
        return None
    named = [fields.get(name, "") for name in ("original-recipient", "final-recipient", "x-actual-recipient")]
    status = _STATUS.search(fields.get("status", ""))
    return DsnRecipient(
        address=next(filter(None, map(one_address, named)), ""),
        action=_action(fields.get("action", "")),
        status=status[1] if status is not None else "",
        diagnostic=_KIND.sub("", fields.get("diagnostic-code", ""), count=1).strip(),
    )


def _action(value: str) -> DsnAction | None:
    word = value.strip().lower()
    return next((action for action in DsnAction if word.startswith(action.value)), None)
