"""Lists of suppressions as bytes, before any database: however they are cut, whatever is in them."""

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from posthouse.domain.errors import InvalidInput
from posthouse.domain.suppression import Suppression, SuppressionReason, SuppressionScope, SuppressionSource
from posthouse.intake.suppression_lines import MAX_LINE_BYTES, BadLine, ListFormat, SuppressionReader

NOW = datetime(2026, 5, 1, tzinfo=UTC)

Read = list[Suppression | BadLine]


def read(chunks: Iterable[bytes], form: ListFormat) -> Read:
    reader = SuppressionReader(form, NOW)
    found = [line for chunk in chunks for line in reader.feed(chunk)]
    return found + list(reader.end())


def read_or_refused(chunks: Iterable[bytes], form: ListFormat) -> Read | str:
    try:
        return read(chunks, form)
    except InvalidInput as error:
        return f"{error.code}: {error.message}"


def entries(found: Read) -> list[Suppression]:
    assert [line for line in found if isinstance(line, BadLine)] == []
    return [line for line in found if isinstance(line, Suppression)]


def bad(found: Read) -> dict[int, str]:
    return {line.line: line.message for line in found if isinstance(line, BadLine)}


def cut(data: bytes, sizes: list[int]) -> Iterator[bytes]:
    for size in sizes:
        yield data[:size]
        data = data[size:]
    yield data


_pieces = st.sampled_from(
    [
        b"jane@inbox.test",
        b"a@b.test,BOUNCE",
        b"address,reason,scope,expires_at,note",
        b'{"address": "a@b.test"}',
        b'{"address": "a@b.test", "note": "\\ud800"}',
        b'"Doe, Jane" <jane@inbox.test>',
        b"\xef\xbb\xbf",
        b"\n",
        b"\r\n",
        b"\r",
        b"\x00",
        b"\xff",
        b'"',
        b",",
        b"x" * MAX_LINE_BYTES,
        b"[" * 3000,
    ]
)
_lists = st.lists(_pieces | st.binary(max_size=20), max_size=12).map(b"".join)
_forms = st.sampled_from(ListFormat)


@given(_lists, _forms, st.lists(st.integers(0, 50), max_size=20))
def test_where_a_list_is_cut_changes_nothing(data: bytes, form: ListFormat, sizes: list[int]) -> None:
    whole = read_or_refused([data], form)
    assert read_or_refused(cut(data, sizes), form) == whole
    assert read_or_refused((data[i : i + 1] for i in range(len(data))), form) == whole


@given(_lists, _forms)
def test_every_line_that_is_not_empty_is_an_entry_or_is_named(data: bytes, form: ListFormat) -> None:
    found = read_or_refused([data], form)
    if isinstance(found, str):
        assert found.startswith("invalid_header_line: ")
        return
    lines = [line.strip(b" \t\r") for line in data.removeprefix(b"\xef\xbb\xbf").split(b"\n")]
    written = [number for number, line in enumerate(lines, start=1) if line]
    header = 1 if written and form is not ListFormat.JSON_LINES and b"@" not in lines[written[0] - 1] else 0
    assert len(found) in (len(written), len(written) - header)
    assert set(bad(found)) <= set(written)


_addresses = st.lists(
    st.from_regex(r"[a-z0-9]{1,20}(\.[a-z0-9]{1,10})?@[a-z]{1,10}\.test", fullmatch=True), min_size=1
)


@given(_addresses, st.sampled_from(["\n", "\r\n"]), _forms, st.booleans())
def test_good_lists_are_read_whole(
    addresses: list[str], end: str, form: ListFormat, ends_with_a_line_end: bool
) -> None:
    lines = addresses
    if form is ListFormat.JSON_LINES:
        lines = [msgspec.json.encode({"address": one}).decode() for one in addresses]
    data = "\ufeff" + end.join(lines) + (end if ends_with_a_line_end else "")
    found = entries(read([data.encode()], form))
    assert [entry.address for entry in found] == addresses
    assert {(entry.reason, entry.source) for entry in found} == {
        (SuppressionReason.MANUAL, SuppressionSource.IMPORT)
    }


def test_a_header_line_names_the_columns() -> None:
    data = (
        "Address, reason ,scope,expires_at,note\r\n"
        'a@b.test,BOUNCE,,,"said ""no"", twice"\r\n'
        "\r\n"
        "c@d.test,UNSUBSCRIBE,,2030-01-01T00:00:00+01:00,\r\n"
    )
    first, second = entries(read([data.encode()], ListFormat.CSV))
    assert (first.reason, first.scope, first.note) == (
        SuppressionReason.BOUNCE,
        SuppressionScope.ALL,
        'said "no", twice',
    )
    assert (second.scope, second.expires_at) == (
        SuppressionScope.MARKETING,
        datetime(2029, 12, 31, 23, tzinfo=UTC),
    )
    assert entries(read([b"note,address\nx,a@b.test"], ListFormat.ADDRESSES))[0].note == "x"


@pytest.mark.parametrize(
    "line", ["email,reason", "reason", "address,address", "address,Address", '"address', "jane", "{}"]
)
def test_a_first_line_that_is_neither_an_address_nor_a_header_stops_the_list(line: str) -> None:
    with pytest.raises(InvalidInput, match="Nothing was stored") as refused:
        read([f"{line}\na@b.test\n".encode()], ListFormat.CSV)
    assert refused.value.code == "invalid_header_line"


def test_what_is_wrong_is_said_of_its_line() -> None:
    header = "address,reason,scope,expires_at,note\n"
    lines = (
        "a@b.test,bounce,,,",
        "a@b.test,UNSUBSCRIBE,all,,",
        "a@b.test,SPAM,,2030-01-01T00:00:00Z,",
        "a@b.test,,,2030-01-01T00:00:00,",
        "a@b.test,,,0001-01-01T00:00:00+23:59,",
        "a@b.test,BOUNCE",
        ",BOUNCE,,,",
        '"a@b.test,,,,',
        "a@b.test,,,,\x00",
        f"a@b.test,,,,{'x' * 1001}",
        f"a@b.test,,,,{'x' * 5000}",
        "nobody,,,,",
    )
    found = bad(read([(header + "\n".join(lines)).encode()], ListFormat.CSV))
    assert sorted(found) == list(range(2, 2 + len(lines)))
    assert found[6] == "This time is outside the years 1 to 9999 in UTC."
    assert found[7] == "The line has 2 columns where 5 are expected."
    assert found[12] == "The line is longer than 4096 bytes."
    assert all(len(message) <= 200 for message in found.values())
    assert bad(read([b"\xff@b.test"], ListFormat.ADDRESSES)) == {1: "The line is not UTF-8."}
    assert set(
        bad(read([b'[]\n{"address": 1}\n{"address": "a@b.test", "x": 1}\n{'], ListFormat.JSON_LINES))
    ) == {
        1,
        2,
        3,
        4,
    }
