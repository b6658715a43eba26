import pytest

from posthouse.domain.pointer import pointer_of, steps_of


@pytest.mark.parametrize(
    ("message", "steps"),
    [
        ("Expected `int`, got `str` - at `$.house.api_port`", ["house", "api_port"]),
        ("Object contains unknown field `colour` - at `$.house`", ["house", "colour"]),
        ("Object missing required field `streams`", ["streams"]),
        ("Expected `int`, got `str` - at `$.relays[...].port`", ["relays", "*", "port"]),
        ("Expected `str`, got `int` - at `$.streams[...].relays[0]`", ["streams", "*", "relays", "0"]),
        ("Invalid enum value 'foo' - at `key` in `$.streams`", ["streams"]),
        ("'10 q' is not a duration", []),
    ],
)
def test_the_way_that_msgspec_names(message: str, steps: list[str]) -> None:
    assert steps_of(message) == steps


def test_a_pointer_escapes_what_rfc_6901_says() -> None:
    assert pointer_of(["relays", "a/b~c", "port"]) == "/relays/a~1b~0c/port"
    assert pointer_of([]) == ""
