"""Forms as the simulated Mailgun reads them: what a client wrote comes out, what is none is refused."""

from contextlib import suppress

import pytest
from aiohttp import FormData
from hypothesis import given, settings
from hypothesis import strategies as st

from posthouse.simulator.multipart import Field, NoFormError, form_fields

KIND = "multipart/form-data; boundary=x"


async def test_what_another_client_wrote_comes_out() -> None:
    form = FormData({"to": "ann@example.org", "v:größe": "ü"}, quote_fields=False)
    form.add_field("message", b"a\r\n--not-the-end\r\n\0", filename="m.eml", content_type="message/rfc822")
    writer = form()
    body = await writer.as_bytes()
    assert form_fields(str(writer.headers["Content-Type"]), body) == [
        Field("to", b"ann@example.org", is_file=False),
        Field("v:größe", "ü".encode(), is_file=False),
        Field("message", b"a\r\n--not-the-end\r\n\0", is_file=True),
    ]


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        ("application/json", b"--x--"),
        ("multipart/form-data", b"--x--"),
        (KIND, b""),
        (KIND, b"--x\r\n"),
        (KIND, b"--y--\r\n"),
        (KIND, b'--x\r\nContent-Disposition: form-data; name="to"\r\n\r\nann'),
        (KIND, b"--x\r\nContent-Disposition: form-data\r\n\r\nann\r\n--x--"),
        (KIND, b'--x\r\nContent-Disposition: form-data; name="to"\r\nann\r\n--x--'),
        (KIND, b"\r\n--x" * 2_000 + b"--"),
    ],
)
def test_what_is_no_form_is_refused(kind: str, body: bytes) -> None:
    with pytest.raises(NoFormError):
        form_fields(kind, body)


@given(st.binary(max_size=200).map(lambda junk: b"--x\r\n" + junk + b"\r\n--x--") | st.binary(max_size=200))
@settings(max_examples=200)
def test_any_bytes(body: bytes) -> None:
    with suppress(NoFormError):
        assert form_fields(KIND, body) is not None
