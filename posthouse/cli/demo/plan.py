"""What the demo sends, and to whom."""

import random
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from posthouse.domain.stream import Stream

TRANSACTIONAL: Final = 2_000
MARKETING: Final = 8_000
#: Addresses on the suppression list before anything is sent.
SUPPRESSED: Final = 40

_DOMAINS: Final = ("gmail", "yahoo", "outlook", "corp", "icloud", "slow")
_SHARES: Final = (40, 20, 18, 12, 8, 2)

#: Local parts that force an outcome (posthouse/simulator/providers.toml); so many of each.
_FORCED: Final = {
    Stream.TRANSACTIONAL: ("hard", "soft", "softonce", "softalways", "grey", "block", "click", "machine"),
    Stream.MARKETING: (
        *("hard", "softonce", "softalways", "drop", "async"),
        *("complain", "unsub", "unsubpage", "scanner"),
    ),
}
_FORCED_EACH: Final = 5
#: Mails whose template asks at send time for what their data do not have.
_BROKEN: Final = 5
#: Mails to a full mailbox that are worth nothing after a moment.
_SHORT_LIVED: Final = 5
#: Between the first retry of a soft bounce and the second.
_SHORT_LIFE: Final = timedelta(seconds=4)

RECEIPT = {
    "key": "receipt",
    "name": "Receipt",
    "subject": "Your order {{ order }}",
    "html": """<html><head><style>
.total { font-weight: bold } td { padding: 4px 8px } @media (max-width: 600px) { td { padding: 2px } }
</style></head><body><h1>Thank you, {{ name }}!</h1><p>This is what you bought:</p>
<table>{% for line in lines %}<tr><td>{{ line.what }}</td><td>{{ line.price }}</td></tr>{% endfor %}
<tr class="total"><td>Total</td><td>{{ total }}</td></tr></table>
<p><a href="https://shop.example/orders/{{ order }}">See your order</a></p></body></html>""",
    "publish": True,
}
NEWSLETTER = {
    "key": "newsletter",
    "name": "Newsletter",
    "subject": "{{ name }}, three new things",
    "html": """<html><head><style>h2 { color: #234 } .foot { color: #777; font-size: 12px }</style></head>
<body><h2>Hello {{ name }}</h2>{% for item in items %}<h3>{{ item.title }}</h3><p>{{ item.text }}
<a href="https://news.shop.example/{{ item.slug }}">Read on</a></p>{% endfor %}
<p class="foot">Shop, 1 Example Street. <a href="{{ unsubscribe_url }}">Unsubscribe</a></p></body></html>""",
    "publish": True,
}


@dataclass(frozen=True, slots=True)
class DemoMail:
    """One post, and the recipient it is for."""

    stream: Stream
    to: str
    body: dict[str, object]
    expires_in: timedelta | None = None  # from its post


def mails(seed: int) -> list[DemoMail]:
    """All of them, the two streams mixed as they would come."""
    rng = random.Random(seed)  # noqa: S311  # a repeatable crowd, not secrets
    crowd = [
        *_stream_mails(Stream.TRANSACTIONAL, TRANSACTIONAL, rng),
        *_stream_mails(Stream.MARKETING, MARKETING, rng),
    ]
    rng.shuffle(crowd)
    return crowd


def suppressed_addresses() -> list[str]:
    return [f"ok-gone{n}@gmail.sim.test" for n in range(SUPPRESSED)]


def the_mail_to_show() -> str:
    """Its mailbox is full twice before it takes the mail: a timeline worth reading."""
    return "soft-0@gmail.sim.test"


def _stream_mails(stream: Stream, total: int, rng: random.Random) -> Iterator[DemoMail]:
    special = list(_special(stream, rng))
    yield from special
    for n in range(total - len(special)):
        domain = rng.choices(_DOMAINS, _SHARES)[0]
        yield _mail(stream, f"{stream.value[:2]}{n}@{domain}.sim.test", rng)


def _special(stream: Stream, rng: random.Random) -> Iterator[DemoMail]:
    for prefix in _FORCED[stream]:
        for n in range(_FORCED_EACH):
            yield _mail(stream, f"{prefix}-{n}@gmail.sim.test", rng)
    for address in suppressed_addresses():
        yield _mail(stream, address, rng)
    if stream is Stream.TRANSACTIONAL:
        for n in range(_BROKEN):
            broken = _mail(stream, f"ok-broken{n}@corp.sim.test", rng)
            yield DemoMail(
                stream,
                broken.to,
                {
                    **broken.body,
                    "template": _template(
                        "receipt", {"name": "Bo", "order": "1", "lines": ["no price"], "total": "1"}
                    ),
                },
            )
        for n in range(_SHORT_LIVED):
            short = _mail(stream, f"softalways-short{n}@corp.sim.test", rng)
            yield DemoMail(stream, short.to, short.body, _SHORT_LIFE)


def _mail(stream: Stream, to: str, rng: random.Random) -> DemoMail:
    name = to.partition("@")[0].capitalize()
    body: dict[str, object] = {"to": to, "stream": stream.value, "tags": [{"name": "demo", "value": "yes"}]}
    match stream:
        case Stream.TRANSACTIONAL:
            order = f"{rng.randrange(10**9):09d}"
            lines = [{"what": f"Thing {n}", "price": f"{rng.randrange(100)}.00"} for n in range(4)]
            body["from"] = "Shop <orders@shop.example>"
            body["template"] = _template(
                "receipt", {"name": name, "order": order, "lines": lines, "total": "99.00"}
            )
        case Stream.MARKETING:
            items = [{"title": f"News {n}", "text": "Something new.", "slug": f"item-{n}"} for n in range(3)]
            body["from"] = "Shop News <hello@news.shop.example>"
            body["template"] = _template("newsletter", {"name": name, "items": items})
    return DemoMail(stream, to, body)


def _template(key: str, variables: dict[str, object]) -> dict[str, object]:
    return {"key": key, "variables": variables}
