"""The audit is the oracle of the kill tests, so it is tested first: builds that lose or double 1 in 1,000."""

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from posthouse.domain.errors import InvalidInput, NotFound
from posthouse.domain.ids import uuid7
from posthouse.domain.job import OPEN_STATES, Status
from posthouse.status.audit import EXAMPLES, Arrivals, Comparison, Finding, Known, Promises, compare
from posthouse.status.ledgers import LINE_LIMIT, read_arrivals, read_promises

MAILS = 10_000
START = 1_790_000_000_000
SENT = Known(Status.SENT)


def job(number: int) -> UUID:
    return uuid7(START + number, number)


def promise_line(jobs: Sequence[UUID], key: str | None = None, *, replayed: bool = False) -> str:
    recipients = [{"id": str(one), "email": f"p{n}@mail.example"} for n, one in enumerate(jobs)]
    record = {"at": 1.5, "id": str(jobs[0]), "recipients": recipients, "key": key, "replayed": replayed}
    return json.dumps(record) + "\n"


def sink_line(number: int, job_id: UUID | str | None, attempt: int | None = 1) -> str:
    record = {
        "n": number,
        "at": 2.5,
        "account": "sim",
        "via": "smtp",
        "to": "p@mail.example",
        "from": "shop@shop.example",
        "message_id": f"<{number}@shop.example>",
        "job_id": None if job_id is None else str(job_id),
        "attempt": attempt,
        "subject": "Hello",
        "outcome": "delivered",
    }
    return json.dumps(record) + "\n"


def audit_of(
    folder: Path,
    client: Iterable[str],
    sink: Iterable[str],
    jobs: dict[bytes, Known],
    *,
    settled: bool = True,
) -> Comparison:
    """Through the files, as the command does it."""
    (folder / "client.jsonl").write_text("".join(client))
    (folder / "sink.jsonl").write_text("".join(sink))
    promises, arrivals = read_promises(folder / "client.jsonl"), read_arrivals(folder / "sink.jsonl")
    return compare(promises, arrivals, jobs, settled=settled)


def test_an_honest_build_is_clean(tmp_path: Path) -> None:
    jobs = [job(n) for n in range(MAILS)]
    result = audit_of(
        tmp_path,
        (promise_line([one]) for one in jobs),
        (sink_line(n, one) for n, one in enumerate(jobs)),
        {one.bytes: SENT for one in jobs},
    )
    assert result.clean
    assert (result.promised, result.mails, result.arrived, result.jobs) == (MAILS,) * 4
    assert result.by_status == {Status.SENT: MAILS}


def test_a_build_that_loses_one_in_a_thousand_is_caught(tmp_path: Path) -> None:
    jobs = [job(n) for n in range(MAILS)]
    result = audit_of(
        tmp_path,
        (promise_line([one]) for one in jobs),
        (sink_line(n, one) for n, one in enumerate(jobs) if n % 1000 != 7),
        {one.bytes: SENT for one in jobs},
    )
    lost = [str(job(n)) for n in range(MAILS) if n % 1000 == 7]
    assert not result.clean
    assert sorted(result.findings[Finding.LOST].examples) == lost
    assert result.count(Finding.LOST) == result.count(Finding.NOT_ARRIVED) == MAILS // 1000
    assert result.count(Finding.DUPLICATE) == 0


def test_a_build_whose_database_forgets_one_in_a_thousand_is_caught(tmp_path: Path) -> None:
    jobs = [job(n) for n in range(MAILS)]
    result = audit_of(
        tmp_path,
        (promise_line([one]) for one in jobs),
        (sink_line(n, one) for n, one in enumerate(jobs)),
        {one.bytes: SENT for n, one in enumerate(jobs) if n % 1000 != 7},
    )
    assert result.count(Finding.LOST) == result.count(Finding.FOREIGN) == MAILS // 1000


@pytest.mark.parametrize("second_attempt", [1, 2])
def test_a_build_that_doubles_one_in_a_thousand_is_caught(tmp_path: Path, second_attempt: int) -> None:
    jobs = [job(n) for n in range(MAILS)]
    doubled = [sink_line(n, one, second_attempt) for n, one in enumerate(jobs) if n % 1000 == 7]
    result = audit_of(
        tmp_path,
        (promise_line([one]) for one in jobs),
        [*(sink_line(n, one) for n, one in enumerate(jobs)), *doubled],
        {one.bytes: SENT for one in jobs},
    )
    assert not result.clean
    assert result.count(Finding.DUPLICATE) == MAILS // 1000
    assert result.count(Finding.LOST) == 0


def test_a_repeat_is_explained_by_the_attempt_before_it_only(tmp_path: Path) -> None:
    explained, too_late, same_attempt = job(1), job(2), job(3)
    jobs = {
        explained.bytes: Known(Status.SENT, frozenset({1, 2})),
        too_late.bytes: Known(Status.SENT, frozenset({2})),
        same_attempt.bytes: Known(Status.SENT, frozenset({1})),
    }
    result = audit_of(
        tmp_path,
        [promise_line([UUID(bytes=key)]) for key in jobs],
        [
            *(sink_line(n, explained, n) for n in (3, 1, 2)),
            *(sink_line(n, too_late, n) for n in (1, 2)),
            *(sink_line(n, same_attempt, 1) for n in (1, 2)),
        ],
        jobs,
    )
    assert result.explained_repeats == 2
    assert set(result.findings[Finding.DUPLICATE].examples) == {str(too_late), str(same_attempt)}


@pytest.mark.parametrize(
    ("known", "lost_when_settled", "lost_before"),
    [
        (Known(Status.SENT), True, True),
        (Known(Status.DELIVERED), True, True),
        (Known(Status.BOUNCED), True, True),
        (Known(Status.BOUNCED, refused_at_handover=True), False, False),
        (Known(Status.SENT, sandboxed=True), False, False),
        (Known(Status.DELIVERED, sandboxed=True), False, False),
        (Known(Status.BOUNCED, sandboxed=True), False, False),
        (Known(Status.SENDING, sandboxed=True), True, False),
        (Known(Status.FAILED), False, False),
        (Known(Status.SUPPRESSED), False, False),
        (Known(Status.CANCELLED), False, False),
        (Known(Status.EXPIRED), False, False),
        *((Known(status), True, False) for status in sorted(OPEN_STATES)),
    ],
    ids=lambda value: getattr(value, "status", None),
)
def test_what_has_not_arrived_is_lost_unless_its_state_says_why(
    known: Known, *, lost_when_settled: bool, lost_before: bool
) -> None:
    promises, nothing = Promises(frozenset({job(1).bytes}), 1), Arrivals({}, 0)
    jobs = {job(1).bytes: known}
    assert compare(promises, nothing, jobs, settled=True).count(Finding.LOST) == lost_when_settled
    assert compare(promises, nothing, jobs, settled=False).count(Finding.LOST) == lost_before
    pending = known.status in OPEN_STATES
    assert compare(promises, nothing, jobs, settled=False).pending == pending


def test_a_promise_of_which_the_database_knows_nothing_is_lost() -> None:
    result = compare(Promises(frozenset({job(1).bytes}), 1), Arrivals({}, 0), {}, settled=False)
    assert result.count(Finding.LOST) == 1


def test_every_recipient_of_a_promise_counts(tmp_path: Path) -> None:
    post = [job(1), job(2), job(3)]
    result = audit_of(
        tmp_path,
        [promise_line(post), promise_line(post, replayed=True)],
        [sink_line(1, post[0])],
        {one.bytes: SENT for one in post},
    )
    assert result.promised == 3
    assert result.count(Finding.LOST) == 2


def test_mail_that_nobody_here_sent_is_found(tmp_path: Path) -> None:
    result = audit_of(tmp_path, [], [sink_line(1, None), sink_line(2, "no uuid"), sink_line(3, job(9))], {})
    assert result.findings[Finding.FOREIGN].examples == (
        "mail 1 (<1@shop.example>)",
        "mail 2 (<2@shop.example>)",
        str(job(9)),
    )


def test_one_idempotency_key_answered_with_two_messages_is_found(tmp_path: Path) -> None:
    lines = [
        promise_line([job(1)], "same"),
        promise_line([job(1)], "same", replayed=True),
        promise_line([job(2)], "two"),
        promise_line([job(3)], "two"),
    ]
    result = audit_of(
        tmp_path,
        lines,
        (sink_line(n, job(n)) for n in (1, 2, 3)),
        {job(n).bytes: SENT for n in (1, 2, 3)},
    )
    assert result.findings[Finding.KEY_TWICE].examples == ("two",)
    assert not result.clean


def test_an_end_without_its_reason_is_found() -> None:
    jobs = {job(1).bytes: Known(Status.FAILED, reasoned=False)}
    result = compare(Promises(frozenset(jobs), 1), Arrivals({}, 0), jobs, settled=True)
    assert result.count(Finding.NO_REASON) == 1


@pytest.mark.parametrize("status", Status)
def test_a_test_keys_mail_that_arrived_is_found(status: Status) -> None:
    jobs = {job(1).bytes: Known(status, sandboxed=True), job(2).bytes: Known(status)}
    arrivals = Arrivals({key: [1] for key in jobs}, 2)
    result = compare(Promises(frozenset(jobs), 2), arrivals, jobs, settled=False)
    assert result.findings[Finding.LEAKED].examples == (str(job(1)),)
    assert not result.clean


def test_findings_show_some_ids_and_count_all() -> None:
    jobs = {job(n).bytes: SENT for n in range(100)}
    result = compare(Promises(frozenset(jobs), 100), Arrivals({}, 0), jobs, settled=False)
    assert result.count(Finding.LOST) == 100
    assert len(result.findings[Finding.LOST].examples) == EXAMPLES


@pytest.mark.parametrize("end", ["", "\n"], ids=["as the crash left it", "closed by the next start"])
def test_a_torn_line_was_never_written(tmp_path: Path, end: str) -> None:
    torn = promise_line([job(2)])[:-20] + end
    lines = [promise_line([job(1)]), torn, *([promise_line([job(3)])] if end else [])]
    sent = [job(1), *([job(3)] if end else [])]
    result = audit_of(
        tmp_path,
        lines,
        (sink_line(n, one) for n, one in enumerate(sent)),
        {one.bytes: SENT for one in sent},
    )
    assert result.clean
    assert result.promised == len(sent)


@pytest.mark.parametrize("line", ["{}\n", "[1]\n", "\n", '{"id": "x", "recipients": []}\n', "\x00\n"])
def test_a_line_that_cannot_be_read_is_named(tmp_path: Path, line: str) -> None:
    path = tmp_path / "client.jsonl"
    path.write_text(promise_line([job(1)]) + line)
    with pytest.raises(InvalidInput, match=r"client\.jsonl, line 2"):
        read_promises(path)


def test_an_endless_line_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "sink.jsonl"
    path.write_bytes(b"x" * (LINE_LIMIT + 5))
    with pytest.raises(InvalidInput, match="not a ledger"):
        read_arrivals(path)


def test_a_ledger_that_is_not_there_is_said_so(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match=r"none\.jsonl"):
        read_promises(tmp_path / "none.jsonl")


@settings(max_examples=60, deadline=None)
@given(
    st.dictionaries(
        st.integers(0, 500),
        st.tuples(st.sampled_from([Status.SENT, Status.DELIVERED]), st.integers(1, 3)),
        min_size=1,
        max_size=40,
    ),
    st.data(),
)
def test_taking_any_arrival_away_or_adding_one_shows(
    mails: dict[int, tuple[Status, int]], data: st.DataObject
) -> None:
    jobs = {
        job(n).bytes: Known(status, frozenset(range(1, attempts))) for n, (status, attempts) in mails.items()
    }
    honest = {job(n).bytes: list(range(1, attempts + 1)) for n, (_, attempts) in mails.items()}
    promises = Promises(frozenset(jobs), len(jobs))
    assert compare(promises, Arrivals(honest, len(honest)), jobs, settled=True).clean
    victim = data.draw(st.sampled_from(sorted(jobs)))
    without = {key: attempts for key, attempts in honest.items() if key != victim}
    assert compare(promises, Arrivals(without, 0), jobs, settled=True).count(Finding.LOST) == 1
    twice = {**honest, victim: [*honest[victim], data.draw(st.sampled_from(honest[victim]))]}
    assert compare(promises, Arrivals(twice, 0), jobs, settled=True).count(Finding.DUPLICATE) == 1
