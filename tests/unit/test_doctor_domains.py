"""What the doctor says of names in DNS; the look-ups themselves go no farther than this machine."""

import socket
import tomllib

import pytest

from posthouse.cli.doctor.check import State
from posthouse.cli.doctor.domains import Name, domain_checks, judged
from posthouse.config import DEVELOPMENT, Settings, settings_from


def house(**replaced: str) -> Settings:
    text = DEVELOPMENT.format(folder="data")
    for old, new in replaced.items():
        text = text.replace(old, new)
    return settings_from(tomllib.loads(text), "test")


@pytest.mark.parametrize(
    ("code", "needs_address", "state", "words"),
    [
        (None, True, State.OK, "has an address"),
        (None, False, State.OK, "has an address"),
        (socket.EAI_NODATA, False, State.OK, "without an address"),
        (socket.EAI_NODATA, True, State.WARNING, "no address"),
        (socket.EAI_NONAME, False, State.WARNING, "no entry"),
        (socket.EAI_NONAME, True, State.WARNING, "no address"),
        (socket.EAI_AGAIN, False, State.WARNING, "resolver"),
    ],
)
def test_every_answer_of_the_resolver_has_its_words(
    code: int | None, needs_address: bool, state: State, words: str
) -> None:
    name = Name("from-domain shop.example.org", "shop.example.org", False, needs_address=needs_address)
    check = judged(name, code)
    assert check.state is state
    assert words in check.found
    assert bool(check.todo) is (state is not State.OK)


async def test_names_of_simulated_streams_are_not_looked_up() -> None:
    found = await domain_checks(house())
    assert {check.state for check in found} == {State.OK}
    assert {check.found for check in found} == {"only mails simulated people: not looked up"}


async def test_names_are_looked_up_and_reserved_ones_are_not() -> None:
    found = {check.name: check for check in await domain_checks(house(simulator="#simulator"))}
    assert found["tracking localhost"].state is State.WARNING  # a reserved name: no reader comes there
    assert found["tracking 127.0.0.1"].found == "has an address in DNS"
    assert found["from-domain shop.example"].state is State.WARNING
