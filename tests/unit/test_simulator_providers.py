"""The mailbox providers: the table's own rules, chance that repeats, and forced addresses."""

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from posthouse.simulator.chance import between, draw, pick
from posthouse.simulator.providers import (
    DEFAULT_TABLE,
    BadTableError,
    Person,
    Providers,
    Verdict,
    enhanced_code,
)

TABLE = DEFAULT_TABLE.read_bytes()


@pytest.fixture(scope="module")
def providers() -> Providers:
    return Providers(TABLE, seed=1)


def changed(old: str, new: str) -> bytes:
    text = TABLE.decode()
    assert old in text
    return text.replace(old, new, 1).encode()


@pytest.mark.parametrize(
    ("old", "new", "complaint"),
    [
        ("people = { ignores = 0.8, opens = 0.2 }", "people = { ignores = 0.8 }", "people do not add up"),
        ("greylisted = 0.4, delayed = 0.4", "greylisted = 0.9, delayed = 0.4", "more than 1"),
        ("prefetcher = 0.9", "prefetcher = 1.9", "not between 0 and 1"),
        ('domains = ["slow.sim.test"]', 'domains = ["gmail.sim.test"]', "two providers"),
        ('"sink.sim.test", "*"', '"sink.sim.test"', 'no provider takes "*"'),
        ('fate = "full_once"', 'fate = "fuller"', "unknown fate fuller"),
        ("unknown = 0.01, greylisted", "nonesuch = 0.01, greylisted", "unknown fates"),
        ("tries = 2", "trials = 2", "trials"),
        ('verdict = "hard"', 'verdict = "tough"', "tough"),
        ("[delays]", "[delays", "line"),
    ],
)
def test_a_table_that_contradicts_itself_is_refused(old: str, new: str, complaint: str) -> None:
    with pytest.raises(BadTableError, match=complaint):
        Providers(changed(old, new), seed=1)


def test_every_refusal_fits_its_verdict(providers: Providers) -> None:
    """Whatever the provider, all replies are SMTP, of the class that their verdict wants."""
    digits = {
        Verdict.HARD: "5",
        Verdict.SOFT: "4",
        Verdict.BLOCK: "5",
        Verdict.LATER: "4",
        Verdict.ASYNC: "5",
    }
    seen: set[Verdict] = set()
    for domain in ("gmail", "yahoo", "outlook", "corp", "icloud", "slow"):
        for prefix in (
            "hard",
            "disabled",
            "soft",
            "softalways",
            "grey",
            "throttle",
            "defer",
            "block",
            "async",
        ):
            mailbox = providers.mailbox(f"{prefix}-ann@{domain}.sim.test")
            assert mailbox.fate is not None
            seen.add(mailbox.fate.verdict)
            assert mailbox.reply[0] == digits[mailbox.fate.verdict]
            assert enhanced_code(mailbox.reply) is not None
            assert "{" not in mailbox.reply
    assert seen == digits.keys()


def test_shares_come_out_as_the_table_says(providers: Providers) -> None:
    fates: Counter[Verdict | None] = Counter()
    for n in range(20_000):
        fate = providers.mailbox(f"reader{n}@gmail.sim.test").fate
        fates[fate.verdict if fate else None] += 1
    assert fates[Verdict.HARD] / 20_000 == pytest.approx(0.025, abs=0.005)
    assert fates[None] / 20_000 == pytest.approx(0.943, abs=0.01)


def test_people_differ_by_mail_and_mailboxes_do_not(providers: Providers) -> None:
    box = providers.mailbox("reader7@yahoo.sim.test")
    people = {getattr(providers.reader(box, f"subject {n}"), "person", None) for n in range(200)}
    assert {None, Person.OPENS, Person.CLICKS} <= people
    assert providers.mailbox("reader7@yahoo.sim.test") == box


def test_another_seed_is_another_world() -> None:
    one, two = Providers(TABLE, seed=1), Providers(TABLE, seed=2)
    addresses = [f"reader{n}@slow.sim.test" for n in range(200)]
    assert [one.mailbox(a).fate for a in addresses] != [two.mailbox(a).fate for a in addresses]


def test_the_same_seed_is_the_same_world_in_any_case() -> None:
    one, two = Providers(TABLE, seed=3), Providers(TABLE, seed=3)
    for n in range(200):
        first, second = one.mailbox(f"reader{n}@corp.sim.test"), two.mailbox(f"Reader{n}@CORP.sim.test")
        assert first.fate == second.fate
        assert one.reader(first, "s") == two.reader(second, "s")


def test_the_longest_prefix_wins(providers: Providers) -> None:
    tries = {p: providers.mailbox(f"{p}-a@gmail.sim.test").fate for p in ("soft", "softonce", "softalways")}
    assert [fate.tries if fate else None for fate in tries.values()] == [2, 1, 0]


def test_every_forced_address_is_documented_and_forced(providers: Providers) -> None:
    for entry in providers.forced:
        assert entry.doc
        mailbox = providers.mailbox(f"{entry.prefix}someone@nowhere.example")
        assert mailbox.forced == entry
        reader = providers.reader(mailbox, "any subject")
        idle = entry.person is Person.IGNORES and not entry.machines
        assert (reader is None) == idle
        assert reader is None or (reader.person, reader.machines) == (entry.person, entry.machines)


def test_nobody_reads_at_domains_that_nobody_names(providers: Providers) -> None:
    mailbox = providers.mailbox("ann@some.where.example")
    assert mailbox.fate is None
    assert providers.reader(mailbox, "Hello") is None


@given(st.text(), st.text())
@settings(max_examples=60)
def test_any_address_has_a_mailbox(address: str, subject: str) -> None:
    providers = _PROVIDERS
    mailbox = providers.mailbox(address)
    providers.reader(mailbox, subject)
    assert mailbox.address == address


_PROVIDERS = Providers(TABLE, seed=1)


@given(st.integers(), st.lists(st.text(), max_size=3))
@settings(max_examples=60)
def test_draws_are_shares(seed: int, what: list[str]) -> None:
    assert 0.0 <= draw(seed, *what) < 1.0
    assert draw(seed, *what) == draw(seed, *what)


def test_a_draw_picks_by_share() -> None:
    shares = {"a": 0.25, "b": 0.25}
    assert [pick(shares, at) for at in (0.0, 0.24, 0.25, 0.49, 0.5, 0.99)] == ["a", "a", "b", "b", None, None]
    assert between((10.0, 20.0), 0.5) == 15.0
