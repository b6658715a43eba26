"""Named points at which a test makes a process die, hang or fail. Off unless the environment names them.

`POSTHOUSE_FAILPOINTS="worker.claimed=kill:3,api.after_commit=hang"` arms points; `kill:3` acts at the third
pass, `kill:always` at each. A point with a key acts for one thing only: `worker.poison@ann@inbox.test=kill`.
Each point that acts first appends its name to the file `POSTHOUSE_FAILPOINT_LOG`, flushed, so that a test can
prove that it was hit.
"""

import os
import signal
import time
from dataclasses import dataclass
from enum import StrEnum


class Fault(StrEnum):
    KILL = "kill"  # SIGKILL to ourselves: no handler, no flush, no goodbye
    STOP = "stop"  # SIGSTOP: somebody else must continue us
    HANG = "hang"  # block the whole process for an hour
    RAISE = "raise"  # FailpointError


class FailpointError(RuntimeError):
    """Raised by an armed point; nothing catches it by name, as nothing would a bug."""


@dataclass(slots=True)
class _Armed:
    fault: Fault
    passes_left: int | None  # None: acts at every pass

    def acts_now(self) -> bool:
        if self.passes_left is None:
            return True
        self.passes_left -= 1
        return self.passes_left == 0


_ALWAYS = "always"


def _parse(spec: str) -> dict[str, _Armed]:
    armed = {}
    for item in filter(None, spec.split(",")):
        name, _, action = item.partition("=")
        fault, _, nth = action.partition(":")
        armed[name.strip()] = _Armed(Fault(fault), None if nth == _ALWAYS else int(nth or 1))
    return armed


_ARMED = _parse(os.environ.get("POSTHOUSE_FAILPOINTS", ""))


def failpoint(name: str) -> None:
    """Does nothing, unless this point is armed and this is the pass it waits for."""
    if not _ARMED:
        return
    point = _ARMED.get(name)
    if point is None or not point.acts_now():
        return
    _log(name)
    match point.fault:
        case Fault.KILL:
            os.kill(os.getpid(), signal.SIGKILL)
        case Fault.STOP:
            os.kill(os.getpid(), signal.SIGSTOP)
        case Fault.HANG:
            time.sleep(3600)
        case Fault.RAISE:
            raise FailpointError(name)


def failpoint_at(name: str, key: str) -> None:
    """A point that is armed for one key, as `name@key`."""
    if _ARMED:
        failpoint(f"{name}@{key}")


def _log(name: str) -> None:
    path = os.environ.get("POSTHOUSE_FAILPOINT_LOG")
    if path is None:
        return
    with open(path, "a", encoding="utf-8") as log:
        log.write(f"{name} {os.getpid()}\n")
        log.flush()
        os.fsync(log.fileno())
