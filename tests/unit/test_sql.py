from importlib.resources.abc import Traversable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from posthouse.storage.sql import BrokenQuery, Queries, filled, load_queries, parse

_FILE = """\
-- name: one
-- The first,
-- in two lines.
SELECT 1;

-- name: two
SELECT 2 -- name: not_a_name
FROM x;
"""


def test_queries_have_name_description_and_sql() -> None:
    one, two = parse(_FILE, "a.sql")
    assert (one.name, one.description, one.sql) == ("one", "The first, in two lines.", "SELECT 1")
    assert (two.name, two.description, two.sql) == ("two", "", "SELECT 2 -- name: not_a_name\nFROM x")


def test_one_text_makes_a_query_for_each_number() -> None:
    text = "-- name: claim_{limit}\n-- for limit in 1 10\n-- Claims.\nSELECT {limit} LIMIT {limit};"
    queries = Queries(tuple(parse(text, "a.sql")))
    assert dict(queries) == {"claim_1": "SELECT 1 LIMIT 1", "claim_10": "SELECT 10 LIMIT 10"}
    assert [query.description for query in queries.all()] == ["Claims.", "Claims."]


def test_a_part_stands_in_every_query_that_uses_it() -> None:
    text = (
        "-- part: rest\n-- Of both.\nb AS (SELECT 2)\nSELECT * FROM b;\n\n"
        "-- name: one\nWITH a AS (SELECT 1),\n-- use: rest\n"
        "-- name: two_{limit}\n-- for limit in 5\nWITH a AS (SELECT {limit}),\n-- use: rest\n"
    )
    queries = Queries(tuple(parse(text, "a.sql")))
    assert dict(queries) == {
        "one": "WITH a AS (SELECT 1),\nb AS (SELECT 2)\nSELECT * FROM b",
        "two_5": "WITH a AS (SELECT 5),\nb AS (SELECT 2)\nSELECT * FROM b",
    }


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("SELECT 1;\n-- name: one\nSELECT 1", "above its first"),
        ("-- name: one\n-- only words\n", '"one" in a.sql is empty'),
        ("-- name: one\n;\n", '"one" in a.sql is empty'),
        ("-- name: one\nSELECT 1\n-- use: rest\n", 'a part "rest" that does not stand above'),
        ("-- name:\nSELECT 1", '"" is not a query name'),
        ("-- name: One\nSELECT 1", '"One" is not a query name'),
        ("-- name: claim_{limit}\nSELECT 1", "is not a query name"),
    ],
)
def test_what_cannot_be_a_query_is_refused(text: str, words: str) -> None:
    with pytest.raises(BrokenQuery, match=words):
        list(parse(text, "a.sql"))


def test_two_queries_of_one_name_are_refused_naming_both_files(tmp_path: Path) -> None:
    (tmp_path / "a.sql").write_text("-- name: one\nSELECT 1")
    (tmp_path / "b.sql").write_text("-- name: one\nSELECT 2")
    folder: Traversable = tmp_path
    with pytest.raises(BrokenQuery, match=r"b\.sql has the same name as the one in a\.sql"):
        load_queries(folder)


def test_an_unknown_name_is_refused() -> None:
    with pytest.raises(BrokenQuery, match='no query "nothing"'):
        Queries(())["nothing"]


def test_ours_load_and_each_has_a_name_of_its_own() -> None:
    queries = load_queries()
    assert "try_migration_lock" in queries
    assert len(queries) == len(queries.all())


def test_places_are_filled() -> None:
    sql = "CREATE TABLE __partition__ (LIKE __parent__)"
    assert (
        filled(sql, {"partition": "a_p1", "parent": "a", "day": "2026-01-01"}) == "CREATE TABLE a_p1 (LIKE a)"
    )


@given(st.text().filter(lambda text: not all(c in "abcdefghijklmnopqrstuvwxyz0123456789_-" for c in text)))
@settings(max_examples=50)
def test_nothing_but_a_plain_name_fills_a_place(filling: str) -> None:
    with pytest.raises(ValueError, match="cannot stand in SQL"):
        filled("DROP TABLE __partition__", {"partition": filling})


@given(st.text(alphabet=st.sampled_from("-- name:\nforab{}_1; in\t")))
@settings(max_examples=200)
def test_any_text_parses_or_is_refused(text: str) -> None:
    try:
        queries = list(parse(text, "any.sql"))
    except BrokenQuery:
        return
    assert all(query.name and query.sql for query in queries)
