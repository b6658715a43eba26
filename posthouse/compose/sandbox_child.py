"""The render process, as a program: `python -m posthouse.compose.sandbox_child SOCKET MEMORY_BYTES`."""

import resource
import socket
import sys
from collections import OrderedDict
from typing import Final

import msgspec
from minijinja import Environment, TemplateError

from posthouse.compose.engine import decode_variables, failure, is_engine_error, new_environment
from posthouse.compose.sandbox_protocol import (
    CPU_SECONDS,
    HEADER_BYTES,
    READY,
    Part,
    RenderAnswer,
    RenderRequest,
)
from posthouse.domain.errors import RenderFailed, TemplateTooExpensive

_COMPILED_PARTS: Final = 64
_FUEL: Final = 20_000_000


def main(arguments: list[str]) -> None:
    """The child: confine itself, say so, then answer requests until the parent hangs up."""
    line = socket.socket(fileno=int(arguments[0]))
    _warm_up()
    _confine(memory_bytes=int(arguments[1]))
    line.sendall(READY)
    requests = msgspec.msgpack.Decoder(RenderRequest)
    renderer = _PartRenderer()
    while header := line.recv(HEADER_BYTES, socket.MSG_WAITALL):
        body = line.recv(int.from_bytes(header, "big"), socket.MSG_WAITALL)
        _allow_more_cpu()
        answer = msgspec.msgpack.encode(_answer(renderer, requests.decode(body)))
        line.sendall(len(answer).to_bytes(HEADER_BYTES, "big") + answer)


def _warm_up() -> None:
    """Make the engine load what it loads at its first error: afterwards no file can be opened."""
    environment = new_environment()
    environment.add_template("warm.html", "{{ a.b }}{% for c in d.items() %}{{ c }}{% endfor %}{{ e }}")
    for variables in ({"a": {"b": "<"}, "d": {"x": [1]}, "e": None}, {}):
        try:
            environment.render_template("warm.html", **variables)
        except TemplateError as error:
            failure(error, "")


def _confine(*, memory_bytes: int) -> None:
    resource.setrlimit(resource.RLIMIT_AS, (memory_bytes, memory_bytes))
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _allow_more_cpu() -> None:
    used = resource.getrusage(resource.RUSAGE_SELF)
    soft = int(used.ru_utime + used.ru_stime) + 1 + CPU_SECONDS
    resource.setrlimit(resource.RLIMIT_CPU, (soft, resource.getrlimit(resource.RLIMIT_CPU)[1]))


class _PartRenderer:
    """Keeps compiled templates by name and source."""

    def __init__(self) -> None:
        self._compiled: OrderedDict[Part, Environment] = OrderedDict()

    def render(self, part: Part, variables: dict[str, object]) -> str:
        environment = self._compiled.get(part)
        if environment is None:
            environment = new_environment()
            environment.fuel = _FUEL
            environment.add_template(part.name, part.source)
            self._compiled[part] = environment
            if len(self._compiled) > _COMPILED_PARTS:
                self._compiled.popitem(last=False)
        return environment.render_template(part.name, **variables)


def _answer(renderer: _PartRenderer, request: RenderRequest) -> RenderAnswer:
    texts = []
    part = None
    try:
        for part in request.parts:
            # Decoded for each part: a template can call methods that change its variables.
            text = renderer.render(part, decode_variables(request.variables))
            if len(text) > request.output_bytes:
                raise TemplateTooExpensive(f"The template made more than {request.output_bytes >> 20} MB.")
            texts.append(text)
    except MemoryError:
        return RenderAnswer(error="The template needed too much memory.", too_expensive=True)
    except RenderFailed as error:
        return _refusal(error)
    except BaseException as error:
        if not is_engine_error(error):
            raise
        return _refusal(failure(error, part.source if part else ""))
    return RenderAnswer(texts=tuple(texts))


def _refusal(error: RenderFailed) -> RenderAnswer:
    return RenderAnswer(
        error=error.message, code=error.code, too_expensive=isinstance(error, TemplateTooExpensive)
    )


if __name__ == "__main__":
    main(sys.argv[1:])
