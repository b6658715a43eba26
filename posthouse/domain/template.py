"""Stored templates: a stable key, immutable numbered versions, draft then published."""

from dataclasses import dataclass
from enum import StrEnum

from posthouse.domain.ids import TemplateId, TemplateKey


class VersionState(StrEnum):
    DRAFT = "draft"
    PUBLISHED = "published"


@dataclass(frozen=True, slots=True)
class Variable:
    """A declared variable. One without a default is required: its absence is refused at acceptance."""

    name: str
    required: bool = True
    default: str | int | float | bool | None = None


@dataclass(frozen=True, slots=True)
class TemplateVersion:
    template_id: TemplateId
    key: TemplateKey
    version: int
    subject: str
    html: str | None
    text: str | None
    variables: tuple[Variable, ...] = ()
    tracked: bool = True
    state: VersionState = VersionState.DRAFT
