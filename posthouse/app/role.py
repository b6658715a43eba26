"""The roles, what a process of one is told, and where each is put together."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from enum import StrEnum
from importlib import import_module
from typing import TypeAlias

from posthouse.config import Settings
from posthouse.domain.stream import Stream
from posthouse.web.server import Sharing


class RoleName(StrEnum):
    API = "api"
    WORKER = "worker"
    QUARANTINE = "quarantine"
    DISPATCHER = "dispatcher"
    PROCESSOR = "processor"
    TRACK = "track"
    INBOUND = "inbound"
    SIMULATOR = "simulator"


@dataclass(frozen=True, slots=True)
class Part:
    """Which part of a role's work one process takes. Roles for which there is nothing to divide ignore it."""

    stream: Stream | None = None
    sharing: Sharing = Sharing.ALONE


Run: TypeAlias = Callable[[Settings, Part, asyncio.Event], Awaitable[None]]


def worker_stream(stream: Stream | None) -> Stream:
    """Whose mail a worker takes that was not told."""
    return stream or Stream.TRANSACTIONAL


def run_of(role: RoleName) -> Run:
    """`run` of the role's module in app/roles: it is the role until the event is set.

    The module is loaded here and not above: a process of one role would wait at each start, and hold in its
    memory, what only the others use.
    """
    run: Run = import_module(f"posthouse.app.roles.{role}").run
    return run
