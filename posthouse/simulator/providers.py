"""The mailbox providers: what becomes of mail to an address, and who reads it."""

import re
from enum import StrEnum
from pathlib import Path
from typing import NewType

import msgspec

from posthouse.simulator.chance import draw, pick

FateName = NewType("FateName", str)

DEFAULT_TABLE = Path(__file__).with_name("providers.toml")
_ENHANCED = re.compile(r"^[245]\d\d ([245]\.\d{1,3}\.\d{1,3})(?= |$)")
_ROUNDING = 1e-9
_EVERY_DOMAIN = "*"
_KNOWN = 10_000  # mailboxes at hand


class Verdict(StrEnum):
    """What a fate means for a mail; providers.toml says what each looks like."""

    HARD = "hard"
    SOFT = "soft"
    BLOCK = "block"
    LATER = "later"
    ASYNC = "async"
    DROP = "drop"


class Person(StrEnum):
    IGNORES = "ignores"
    OPENS = "opens"
    CLICKS = "clicks"
    UNSUBSCRIBES = "unsubscribes"
    UNSUBSCRIBES_ON_PAGE = "unsubscribes_on_page"
    COMPLAINS = "complains"


class Machine(StrEnum):
    PREFETCHER = "prefetcher"  # Apple Mail Privacy Protection
    SCANNER = "scanner"  # a company's link scanner


class Fate(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`tries` that fail before mail passes; 0: all."""

    verdict: Verdict
    reply: str
    tries: int = 0
    classification: str = "Unclassified"


class Forced(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What an address whose local part begins with `prefix` always does."""

    prefix: str
    doc: str
    fate: FateName | None = None
    person: Person = Person.IGNORES
    machines: frozenset[Machine] = frozenset()


class Delays(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Seconds (from, to) of the simulated world, before the time scale."""

    processed: tuple[float, float]
    deferred: tuple[float, float]
    delivered: tuple[float, float]
    bounced_later: tuple[float, float]
    opened: tuple[float, float]
    acted: tuple[float, float]
    prefetched: tuple[float, float]
    scanned: tuple[float, float]


class Provider(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`agents` load images (mail programs, image proxies); `browsers` follow links."""

    domains: tuple[str, ...]
    fates: dict[FateName, float]
    people: dict[Person, float]
    machines: dict[Machine, float]
    agents: tuple[str, ...]
    browsers: tuple[str, ...]
    replies: dict[FateName, str] = {}


class _Table(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    fates: dict[FateName, Fate]
    forced: tuple[Forced, ...]
    delays: Delays
    providers: dict[str, Provider]


class BadTableError(ValueError):
    """The data file contradicts itself; the text says where."""


class Mailbox(msgspec.Struct, frozen=True):
    """One address at its provider. `fate` None: healthy. `reply` is the refusal in this provider's words."""

    address: str
    provider: Provider
    fate: Fate | None
    reply: str
    forced: Forced | None

    @property
    def classification(self) -> str:
        return self.fate.classification if self.fate else "Unclassified"


class Reader(msgspec.Struct, frozen=True):
    """Who handles one mail that arrived."""

    person: Person
    machines: frozenset[Machine]
    agent: str
    browser: str


class Providers:
    """All providers of one simulation. Everything it says depends only on the seed and the arguments."""

    def __init__(self, table: bytes, seed: int) -> None:
        """Raises BadTableError when the table is malformed or its odds do not add up."""
        try:
            parsed = msgspec.toml.decode(table, type=_Table)
        except msgspec.DecodeError as error:
            raise BadTableError(str(error)) from error
        _check(parsed)
        self.delays = parsed.delays
        self.forced = tuple(sorted(parsed.forced, key=lambda entry: -len(entry.prefix)))
        self.names = tuple(parsed.providers)
        self._seed = seed
        self._fates = parsed.fates
        self._by_domain = {domain: p for p in parsed.providers.values() for domain in p.domains}
        self._forced_by_prefix = {entry.prefix: entry for entry in self.forced}
        self._prefixes = re.compile("|".join(re.escape(entry.prefix) for entry in self.forced) or r"(?!)")
        self._known: dict[str, Mailbox] = {}

    def provider_of(self, address: str) -> Provider:
        domain = address.rpartition("@")[2].lower()
        return self._by_domain.get(domain) or self._by_domain[_EVERY_DOMAIN]

    def mailbox(self, address: str) -> Mailbox:
        """The mailbox of an address; the same for each mail to it."""
        known = self._known.get(address)
        if known is None:
            if len(self._known) >= _KNOWN:
                self._known.clear()
            known = self._known[address] = self._mailbox(address)
        return known

    def reader(self, mailbox: Mailbox, mail_key: str) -> Reader | None:
        """Who handles this mail; None: nobody. `mail_key` (the subject, or without one the Message-ID) tells
        mails to one address apart."""
        if mailbox.forced is None and _nobody_reads(mailbox.provider):
            return None
        what = (mailbox.address.lower(), mail_key)
        person, machines = self._person(mailbox, what), self._machines(mailbox, what)
        if person is Person.IGNORES and not machines:
            return None
        agents, browsers = mailbox.provider.agents, mailbox.provider.browsers
        return Reader(
            person=person,
            machines=machines,
            agent=agents[int(draw(self._seed, "agent", *what) * len(agents))],
            browser=browsers[int(draw(self._seed, "browser", *what) * len(browsers))],
        )

    def _mailbox(self, address: str) -> Mailbox:
        provider = self.provider_of(address)
        forced = self._forced(address)
        if forced is not None:
            name = forced.fate
        elif provider.fates:
            name = pick(provider.fates, draw(self._seed, "fate", address.lower()))
        else:
            name = None
        if name is None:
            return Mailbox(address, provider, None, "", forced)
        fate = self._fates[name]
        words = provider.replies.get(name, fate.reply)
        queue_id = f"{int(draw(self._seed, 'queue', address) * 16**12):012x}"
        reply = words.replace("{to}", address).replace("{id}", queue_id)
        return Mailbox(address, provider, fate, reply, forced)

    def _forced(self, address: str) -> Forced | None:
        found = self._prefixes.match(address.lower())
        return self._forced_by_prefix[found[0]] if found else None

    def _person(self, mailbox: Mailbox, what: tuple[str, str]) -> Person:
        if mailbox.forced is not None:
            return mailbox.forced.person
        return pick(mailbox.provider.people, draw(self._seed, "person", *what)) or Person.IGNORES

    def _machines(self, mailbox: Mailbox, what: tuple[str, str]) -> frozenset[Machine]:
        if mailbox.forced is not None:
            return mailbox.forced.machines
        odds = mailbox.provider.machines
        return frozenset(m for m, share in odds.items() if draw(self._seed, m.value, *what) < share)


def enhanced_code(reply: str) -> str | None:
    """The RFC 3463 code that an SMTP reply carries after its first number."""
    found = _ENHANCED.match(reply)
    return found[1] if found else None


def _nobody_reads(provider: Provider) -> bool:
    return provider.people.get(Person.IGNORES) == 1.0 and not any(provider.machines.values())


def _check(table: _Table) -> None:
    for name, provider in table.providers.items():
        _check_provider(name, provider, frozenset(table.fates))
    for entry in table.forced:
        if entry.fate is not None and entry.fate not in table.fates:
            raise BadTableError(f"forced {entry.prefix}: unknown fate {entry.fate}")
    domains = [domain for provider in table.providers.values() for domain in provider.domains]
    if len(domains) != len(set(domains)):
        raise BadTableError("a domain has two providers")
    if _EVERY_DOMAIN not in domains:
        raise BadTableError('no provider takes "*", the domains that nobody names')


def _check_provider(name: str, provider: Provider, fates: frozenset[FateName]) -> None:
    unknown = (provider.fates.keys() | provider.replies.keys()) - fates
    if unknown:
        raise BadTableError(f"provider {name}: unknown fates {sorted(unknown)}")
    if not provider.agents or not provider.browsers:
        raise BadTableError(f"provider {name}: needs at least one agent and one browser")
    shares = (*provider.fates.values(), *provider.people.values(), *provider.machines.values())
    if not all(0.0 <= share <= 1.0 for share in shares):
        raise BadTableError(f"provider {name}: a share is not between 0 and 1")
    if sum(provider.fates.values()) > 1.0 + _ROUNDING:
        raise BadTableError(f"provider {name}: fates add up to more than 1")
    if abs(sum(provider.people.values()) - 1.0) > _ROUNDING:
        raise BadTableError(f"provider {name}: people do not add up to 1")
