"""Templates that loop or grow: each ends its own job with a reason, and nothing else ends with it."""

import asyncio
import os
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

import pytest
from compose_kit import NOW, Wish, composer, job, template

from posthouse.clock import Clock, ManualClock, SystemClock
from posthouse.compose.limits import Limits
from posthouse.compose.pipeline import Composer
from posthouse.domain.errors import RenderFailed, TemplateTooExpensive

_DOUBLE = "{% set a = 'xxxxxxxxxxxxxxxx' %}" + "{% set a = a ~ a %}" * 40 + "{{ a }}"
_NESTED = "".join(f"{{% for i{n} in range(99999) %}}" for n in range(5)) + "x" + "{% endfor %}" * 5
_BOMBS = {
    "doubling": _DOUBLE,
    "repetition": "{{ 'x' * 200000000 }}",
    "repetition of a list": "{{ [0] * 200000000 }}",
    "power": "{{ 9 ** 999999999 }}{{ 'x' * (9 ** 9) }}",
    "nested loops": _NESTED,
    "nested loops of raw text": _NESTED.replace("x", "y" * 100_000),
    "replace": "{% set a = 'x' * 100000 %}{{ a|replace('x', a)|replace('x', a) }}",
    "join": "{% set a = 'x' * 1000000 %}{{ range(99999)|join(a) }}",
    "indent": "{% set a = '\\n' * 100000 %}{{ a|indent(99999) }}",
    "recursive macro": "{% macro m(x) %}{{ x }}{{ m(x ~ x) }}{% endmacro %}{{ m('xxxxxxxx') }}",
    "wide macros": "{% macro m(n) %}{% for i in range(9999) %}{{ m(n) }}{% endfor %}{% endmacro %}{{ m(1) }}",
    "recursive loop": "{% for a in x recursive %}{{ loop(x) }}{{ loop(x) }}{% endfor %}",
    "growing list": "{% set l = x %}{% for i in range(40) %}{% do x.extend(x) %}{% endfor %}{{ x|length }}",
    "format": "{{ '{:>2000000000}'.format('x') }}",
    "json": "{{ range(99999)|list|tojson(indent=100000) }}",
    "unique products": "{% for i in range(99999) %}{{ range(99999)|unique|list|length }}{% endfor %}",
    "output": "{{ 'x' * 6000000 }}",
}


@contextmanager
def _composer(limits: Limits, clock: Clock) -> Iterator[Composer]:
    house = composer(limits, clock)
    try:
        yield house
    finally:
        house.close()


@pytest.fixture(scope="module")
def house() -> Iterator[Composer]:
    with _composer(Limits(render_seconds=0.5), SystemClock()) as composer_:
        yield composer_


@pytest.fixture
async def beat() -> AsyncIterator[list[float]]:
    """How late the event loop was, in seconds, while a test ran."""
    late: list[float] = []

    async def measure() -> None:
        while True:
            due = time.monotonic() + 0.01
            await asyncio.sleep(0.01)
            late.append(time.monotonic() - due)

    task = asyncio.create_task(measure())
    yield late
    task.cancel()


@pytest.mark.parametrize("name", _BOMBS)
async def test_a_bomb_ends_its_own_job_only(house: Composer, name: str, beat: list[float]) -> None:
    version = template(text=_BOMBS[name], version=1000 + list(_BOMBS).index(name))
    begun = time.monotonic()
    with pytest.raises(RenderFailed) as caught:
        await house.compose(job(Wish(variables={"x": [1, 2, 3]})), version, NOW)
    assert caught.value.message
    assert time.monotonic() - begun < 20  # a killed child may have to be started first
    assert max(beat, default=0.0) < 0.5  # the worker went on meanwhile
    after = await house.compose(
        job(Wish(variables={"n": 2})), template(text="{{ 'ab' * n }}", version=999), NOW
    )
    assert after.rendered.text == "abab"


async def test_a_worker_holds_no_more_memory_after_the_bombs(house: Composer) -> None:
    for number, bomb in enumerate([_DOUBLE, "{{ 'x' * 200000000 }}"]):
        with pytest.raises(RenderFailed):
            await house.compose(job(Wish()), template(text=bomb, version=2000 + number), NOW)
    assert _most_memory_kb() < 600_000


def _most_memory_kb() -> int:
    status = Path("/proc/self/status").read_text().splitlines()
    return int(next(line.split()[1] for line in status if line.startswith("VmHWM")))


async def test_a_template_that_was_killed_three_times_is_not_run_again_for_ten_minutes() -> None:
    clock = _SteppedClock()
    with _composer(Limits(render_seconds=0.3), clock) as house:
        bomb = template(text=_NESTED, version=1)
        for _ in range(3):
            with pytest.raises(TemplateTooExpensive, match=r"within 0\.3 s|processor"):
                await house.compose(job(Wish()), bomb, NOW)
        begun = time.monotonic()
        with pytest.raises(TemplateTooExpensive, match="ten minutes"):
            await house.compose(job(Wish()), bomb, NOW)
        assert time.monotonic() - begun < 0.2
        other = await house.compose(job(Wish()), template(text="{{ 'a' * 2 }}", version=2), NOW)
        assert other.rendered.text == "aa"
        clock.skip(601)
        with pytest.raises(TemplateTooExpensive, match=r"within 0\.3 s|processor"):
            await house.compose(job(Wish()), bomb, NOW)


class _SteppedClock:
    """Real time, and jumps."""

    def __init__(self) -> None:
        self._real = SystemClock()
        self._jumps = ManualClock()

    def now(self) -> datetime:
        return self._real.now()

    def monotonic(self) -> float:
        return self._real.monotonic() + self._jumps.monotonic()

    def skip(self, seconds: float) -> None:
        self._jumps.advance(seconds)


_ESCAPES = [
    "{{ ''.__class__.__mro__[1].__subclasses__() }}",
    "{{ x.__class__.__init__.__globals__ }}",
    "{{ x['__class__'] }}",
    "{{ x|attr('__class__') }}",
    "{{ x.append.__self__ }}{{ x.append.__func__ }}",
    "{{ x.append['__self__'] }}",
    "{{ self.__init__.__globals__.__builtins__ }}",
    "{{ cycler.__init__.__globals__.os.popen('id').read() }}",
    "{{ config.items() }}{{ request.application }}",
    "{{ lipsum.__globals__['os'].environ }}",
    "{{ namespace.__init__.__globals__ }}",
    "{{ dict.__base__.__subclasses__() }}",
    "{{ joiner.__init__ }}",
    "{{ '%s'|format(x.__class__) }}",
    "{{ '{0.__class__.__init__.__globals__}'.format(x) }}",
    "{{ x.sort.__call__.__objclass__ }}",
    "{% include '/etc/passwd' %}",
    "{% import 'os' as os %}{{ os.environ }}",
    "{% extends '/etc/passwd' %}",
    "{{ debug() }}",
    "{{ env('SECRET') }}{{ environ }}{{ os.environ.SECRET }}",
    "{{ url_for.__globals__ }}{{ get_flashed_messages.__globals__ }}",
    "{{ range.__doc__ }}{{ x.__doc__ }}",
    "{{ ().__class__ }}{{ [].__class__ }}{{ {}.__class__ }}",
]


@pytest.mark.parametrize("template_text", _ESCAPES)
async def test_templates_reach_nothing_but_their_variables(
    house: Composer, monkeypatch: pytest.MonkeyPatch, template_text: str
) -> None:
    monkeypatch.setenv("SECRET", "canary-3141592653")
    version = template(text=template_text, version=3000 + _ESCAPES.index(template_text))
    try:
        composed = await house.compose(job(Wish(variables={"x": [1]})), version, NOW)
    except RenderFailed as error:
        text = error.message
    else:
        text = composed.rendered.text
    assert "canary" not in text
    assert "root:" not in text
    assert "<class" not in text


@pytest.mark.parametrize("payload", _ESCAPES)
async def test_the_same_as_values_are_only_text(house: Composer, payload: str) -> None:
    version = template(text="{{ x }}{{ '' * 1 }}", subject="{{ x }}", version=4000)
    composed = await house.compose(job(Wish(variables={"x": payload}, tracked=False)), version, NOW)
    assert composed.rendered.text == payload
    assert composed.rendered.subject == payload


async def test_the_child_inherits_no_secret_and_opens_no_file(house: Composer) -> None:
    await house.compose(job(Wish()), template(text="{{ 'a' * 1 }}", version=5000), NOW)
    (child, *_) = _children()
    environment = _of_process(child, "environ").split("\0")
    assert set(environment) <= {"", f"PATH={os.defpath}", "LC_CTYPE=C.UTF-8"}
    limits = _of_process(child, "limits").splitlines()
    assert any(line.split()[:4] == ["Max", "open", "files", "0"] for line in limits)
    descriptors = [os.readlink(f"/proc/{child}/fd/{fd}") for fd in os.listdir(f"/proc/{child}/fd")]
    assert sorted(d.split(":")[0] for d in descriptors) == ["/dev/null"] * 3 + ["socket"]


def _of_process(pid: int, name: str) -> str:
    return Path(f"/proc/{pid}/{name}").read_text()


def _children() -> set[int]:
    """The render processes of this process, whichever of its threads started them."""
    tasks = Path("/proc/self/task").iterdir()
    pids = {int(pid) for task in tasks for pid in (task / "children").read_text().split()}
    return {p for p in pids if b"posthouse.compose.sandbox" in Path(f"/proc/{p}/cmdline").read_bytes()}


async def test_the_child_ends_with_its_composer() -> None:
    before = _children()
    with _composer(Limits(), SystemClock()) as house:
        await house.compose(job(Wish()), template(text="{{ 'a' * 1 }}"), NOW)
        assert len(_children() - before) == 1
    assert _children() == before
