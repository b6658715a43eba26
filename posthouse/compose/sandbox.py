"""The killable process in which templates run that could grow.

Parent and child talk over one socket, one request at a time. The parent kills a child that does not answer in
time; the kernel kills one that takes more memory or processor than it may. The child inherits no descriptor
but its socket and no environment but a path; it may open no file, write none and dump no core.
"""

import asyncio
import os
import signal
import socket
import subprocess
import sys
from collections import OrderedDict
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final

import msgspec

from posthouse.clock import Clock
from posthouse.compose.limits import Limits
from posthouse.compose.sandbox_protocol import CPU_SECONDS, HEADER_BYTES, READY, RenderAnswer, RenderRequest
from posthouse.domain.errors import NotNow, RenderFailed, TemplateTooExpensive

_KILLS_BEFORE_REFUSAL: Final = 3
_REFUSAL_SECONDS: Final = 600.0
_REMEMBERED_TEMPLATES: Final = 1024


@dataclass(slots=True)
class _Offences:
    kills: int = 0
    refused_until: float = 0.0


class Sandbox:
    """One child process, started at the first need and again after each kill."""

    def __init__(self, limits: Limits, clock: Clock) -> None:
        self._limits = limits
        self._clock = clock
        self._queue = ThreadPoolExecutor(max_workers=1, thread_name_prefix="render-sandbox")
        self._child: _Child | None = None
        self._offences: OrderedDict[object, _Offences] = OrderedDict()

    async def render(self, key: object, request: RenderRequest) -> tuple[str, ...]:
        """The rendered parts. `key` names what is blamed for a kill.

        Raises TemplateTooExpensive when a limit was passed, RenderFailed for the template's own errors,
        NotNow when no child can be started.
        """
        self._refuse_offender(key)
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._queue, self._render_blocking, key, request)

    def close(self) -> None:
        self._queue.shutdown(wait=True)
        if self._child is not None:
            self._child.kill()
            self._child = None

    def _render_blocking(self, key: object, request: RenderRequest) -> tuple[str, ...]:
        self._refuse_offender(key)
        if self._child is not None and not self._child.is_alive():
            self._child.kill()
            self._child = None
        if self._child is None:
            self._child = _Child.start(self._limits)
        try:
            answer = self._child.ask(
                request, self._clock.monotonic() + self._limits.render_seconds, self._clock
            )
        except (OSError, msgspec.DecodeError) as error:
            reason = self._child.kill_reason(self._limits, timed_out=isinstance(error, TimeoutError))
            self._child = None
            self._count_kill(key)
            raise TemplateTooExpensive(reason) from error
        return _texts(answer)

    def _refuse_offender(self, key: object) -> None:
        offences = self._offences.get(key)
        if offences is not None and offences.refused_until > self._clock.monotonic():
            raise TemplateTooExpensive(
                "The template passed its limits several times; it is not run again for ten minutes."
            )

    def _count_kill(self, key: object) -> None:
        offences = self._offences.setdefault(key, _Offences())
        self._offences.move_to_end(key)
        offences.kills += 1
        if offences.kills >= _KILLS_BEFORE_REFUSAL:
            offences.kills = 0
            offences.refused_until = self._clock.monotonic() + _REFUSAL_SECONDS
        while len(self._offences) > _REMEMBERED_TEMPLATES:
            self._offences.popitem(last=False)


def _texts(answer: RenderAnswer) -> tuple[str, ...]:
    if answer.too_expensive:
        raise TemplateTooExpensive(answer.error)
    if answer.error:
        raise RenderFailed(answer.error, code=answer.code)
    return answer.texts


class _Child:
    def __init__(self, process: subprocess.Popen[bytes], line: socket.socket) -> None:
        self._process = process
        self._line = line
        self._answers = msgspec.msgpack.Decoder(RenderAnswer)

    @classmethod
    def start(cls, limits: Limits) -> "_Child":
        ours, theirs = socket.socketpair()
        with theirs:
            process = subprocess.Popen(
                [
                    sys.executable, "-I", "-m", "posthouse.compose.sandbox_child",
                    str(theirs.fileno()), str(limits.render_memory_bytes),
                ],
                env={"PATH": os.defpath},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                pass_fds=(theirs.fileno(),),
                start_new_session=True,  # a Ctrl-C at the terminal is the parent's to handle
            )  # fmt: skip
        child = cls(process, ours)
        try:
            ours.settimeout(limits.sandbox_start_seconds)
            if ours.recv(1) != READY:
                raise ConnectionError("it ended before it was ready")
        except OSError as error:
            child.kill()
            raise NotNow(f"The render process does not start: {error}") from error
        return child

    def is_alive(self) -> bool:
        return self._process.poll() is None

    def ask(self, request: RenderRequest, deadline: float, clock: Clock) -> RenderAnswer:
        """Raises TimeoutError past the deadline, another OSError when the child died."""
        body = msgspec.msgpack.encode(request)
        self._line.settimeout(_remaining(deadline, clock))
        self._line.sendall(len(body).to_bytes(HEADER_BYTES, "big") + body)
        size = int.from_bytes(self._read(HEADER_BYTES, deadline, clock), "big")
        return self._answers.decode(self._read(size, deadline, clock))

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()
        self._line.close()

    def kill_reason(self, limits: Limits, *, timed_out: bool) -> str:
        """Make sure that it is dead and say what killed it."""
        if timed_out:
            self.kill()
            return f"The template did not finish within {limits.render_seconds:g} s."
        self.kill()
        match -(self._process.returncode or 0):
            case signal.SIGXCPU:
                return f"The template used more than {CPU_SECONDS} s of processor time."
            case _:
                return f"The template needed more than {limits.render_memory_bytes >> 20} MB of memory."

    def _read(self, size: int, deadline: float, clock: Clock) -> bytes:
        received = bytearray()
        while len(received) < size:
            self._line.settimeout(_remaining(deadline, clock))
            chunk = self._line.recv(min(size - len(received), 1 << 18))
            if not chunk:
                raise ConnectionError("the render process ended")
            received += chunk
        return bytes(received)


def _remaining(deadline: float, clock: Clock) -> float:
    seconds = deadline - clock.monotonic()
    if seconds <= 0:
        raise TimeoutError
    return seconds
