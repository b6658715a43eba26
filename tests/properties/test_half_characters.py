"""Half characters in a body are found, and all that is whole in it stays as it is."""

import json

import msgspec
from hypothesis import example, given, settings
from hypothesis import strategies as st

from posthouse.web.api.body import with_whole_characters

_texts = st.lists(
    st.one_of(
        st.text(max_size=5),
        st.characters(categories=["Cs"]),
        st.sampled_from(["\\", "\\u", "\\ud800", "\ud83d\ude00", "\U0001f600", '"', "\n"]),
    ),
    max_size=6,
).map("".join)


@given(_texts)
@example("\\\ud800")
@example("\\ud800\udc00")
@example("\ud800\ud83d\ude00\udc00")
@settings(max_examples=500, deadline=None)
def test_half_characters_are_replaced_in_their_place_and_nothing_else_is(text: str) -> None:
    body = json.dumps(text).encode()
    whole = with_whole_characters(body)
    assert len(whole) == len(body)
    assert msgspec.json.decode(whole) == "".join(
        "\ufffd" if 0xD800 <= ord(one) < 0xE000 else one for one in json.loads(body)
    )
