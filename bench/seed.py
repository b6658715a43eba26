"""Mails that are accepted already: rows as the intake writes them, in bulk, books included."""

import json
import random
from collections.abc import Iterator
from datetime import UTC, datetime

from posthouse.domain.event import EventType
from posthouse.domain.ids import JobId, own_event_id, uuid7
from posthouse.domain.stream import Stream
from posthouse.storage.db import Database

SUPPRESSIONS = 200_000
CHUNK = 5_000

TEMPLATE_HTML = """<html><head><style>
body { font-family: sans-serif; color: #222 } h1 { font-size: 22px; margin: 0 0 12px }
.lead { font-size: 16px } td { padding: 4px 8px; border-bottom: 1px solid #ddd } .foot { color: #777 }
@media (max-width: 600px) { td { padding: 2px } .lead { font-size: 14px } }
</style></head><body><h1>Hello {{ name }}</h1>
<p class="lead">Here is what is new this week. We picked these four things for you because of what you liked
before, and because they are the ones that most of our readers came back to. Have a look; no hurry.</p>
<table>{% for item in items %}<tr><td>{{ item.title }}</td><td>{{ item.price }}</td></tr>{% endfor %}</table>
<p><a href="https://news.shop.example/sale">See the sale</a> or
<a href="https://news.shop.example/about?from=newsletter&amp;week=47">read who we are</a>. Your own page is
<a href="https://news.shop.example/you/{{ token }}">here</a>.</p>
<p>We write to you once a week, never more, and we do not pass on your address to anybody. If you have a
question, answer this mail: a person reads every answer, and most of them get one within the day. If it is
about an order, please name its number, which you find at the top of your receipt.</p>
<p class="foot">Shop, 1 Example Street, Sampletown. <a href="{{ unsubscribe_url }}">Unsubscribe</a></p>
</body></html>"""

TEMPLATE_TEXT = """Hello {{ name }}

Here is what is new this week.
{% for item in items %}
- {{ item.title }}: {{ item.price }}{% endfor %}

See the sale: https://news.shop.example/sale
Your own page: https://news.shop.example/you/{{ token }}

Unsubscribe: {{ unsubscribe_url }}
"""

COLUMNS = (
    "job_id", "message_id", "template_id", "due_at", "expires_at", "created_at", "status", "stream",
    "to_address", "address_key", "from_address", "template_vars",
)  # fmt: skip


async def make_template(db: Database) -> int:
    async with db.transaction() as tx:
        await tx.script("INSERT INTO email_template (key, name) VALUES ('bench', 'Bench')")
        await tx.copy(
            "email_template_version",
            (
                "template_id",
                "version",
                "subject_template",
                "html_template",
                "text_template",
                "variables",
                "published_at",
            ),
            [(1, 1, "{{ name }}, new this week", TEMPLATE_HTML, TEMPLATE_TEXT, b"[]", datetime.now(UTC))],
        )
    return 1


async def make_suppressions(db: Database) -> None:
    async with db.session() as session:
        await session.script(
            "INSERT INTO email_suppression (address_key, scope, reason, source) "
            "SELECT 'gone' || n || '@sink.sim.test', 'all', 'BOUNCE', 'import' "
            f"FROM generate_series(1, {SUPPRESSIONS}) n; "
            "ANALYZE email_suppression"
        )


async def accept(db: Database, stream: Stream, count: int, due_at: datetime) -> None:
    """`count` mails of one stream, due at once at `due_at`."""
    rng = random.Random(count)
    now = datetime.now(UTC)
    for start in range(0, count, CHUNK):
        numbers = range(start, min(start + CHUNK, count))
        ids = sorted(JobId(uuid7(int(now.timestamp() * 1000), rng.getrandbits(74))) for _ in numbers)
        async with db.transaction() as tx:
            await tx.copy("email_job", COLUMNS, _jobs(ids, numbers, stream, now, due_at))
            await tx.copy(
                "email_event",
                ("job_id", "event_id", "occurred_at", "attempt", "type", "origin"),
                [(i, own_event_id(i, 0, EventType.ACCEPTED), now, 0, "accepted", "house") for i in ids],
            )
            day, n = now.date(), len(ids)
            await tx.copy("acceptance_ledger", ("day", "stream", "n"), [(day, stream.value, n)])
            await tx.copy("event_ledger", ("day", "n"), [(day, n)])
            await tx.copy(
                "job_delta", ("day", "stream", "to_status", "n"), [(day, stream.value, "PENDING", n)]
            )


def _jobs(
    ids: list[JobId], numbers: range, stream: Stream, now: datetime, due_at: datetime
) -> Iterator[tuple[object, ...]]:
    expires = now.replace(year=now.year + 1)
    domain = "shop.example" if stream is Stream.TRANSACTIONAL else "news.shop.example"
    items = [{"title": f"Thing number {n}", "price": f"{n}9.00"} for n in range(4)]
    for job_id, number in zip(ids, numbers, strict=True):
        address = f"reader{number}@sink.sim.test"
        variables = json.dumps({"name": f"Reader {number}", "token": f"t{number}", "items": items}).encode()
        yield (
            job_id, job_id, 1, due_at, expires, now, "PENDING", stream.value, address, address,
            f"Shop <hello@{domain}>", variables,
        )  # fmt: skip
