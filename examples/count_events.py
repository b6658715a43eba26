"""Counts what happened to mail, by campaign, mailbox provider and type of event, from the topic email_events.

    pip install confluent-kafka
    python examples/count_events.py --bootstrap-servers 127.0.0.1:9092 --database counts.sqlite

The contract of the records is docs/events/email_event.v1.json. They come at least once, so each event_id is
counted once; offsets are committed after the counts, so that nothing is left out. Stop and start it at will.
"""

import argparse
import json
import sqlite3
from collections.abc import Iterable
from typing import TypedDict

from confluent_kafka import Consumer

SCHEMA = """
CREATE TABLE IF NOT EXISTS counted (event_id TEXT PRIMARY KEY) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS counts (
    campaign TEXT, provider TEXT, type TEXT, machine INTEGER, n INTEGER NOT NULL,
    PRIMARY KEY (campaign, provider, type, machine)
);
"""
ADD = """
INSERT INTO counts VALUES (?, ?, ?, ?, 1)
ON CONFLICT (campaign, provider, type, machine) DO UPDATE SET n = n + 1
"""
SHOW = "SELECT campaign, provider, type, machine, n FROM counts ORDER BY campaign, provider, type, machine"


class Event(TypedDict):
    """What is needed of an email_event.v1."""

    event_id: str
    type: str
    campaign_id: str | None
    recipient_domain: str
    machine: bool
    sandbox: bool


def count(database: sqlite3.Connection, events: Iterable[Event]) -> None:
    """Each event once, however often it comes; mail of test keys not at all. One transaction."""
    with database:
        for event in events:
            if event["sandbox"]:
                continue
            new = database.execute("INSERT OR IGNORE INTO counted VALUES (?)", (event["event_id"],)).rowcount
            if new:
                where = (
                    event["campaign_id"] or "",
                    event["recipient_domain"],
                    event["type"],
                    event["machine"],
                )
                database.execute(ADD, where)


def consume(
    consumer: Consumer, topic: str, database: sqlite3.Connection, *, until_idle: float | None
) -> None:
    """For ever, or until nothing has come for so many seconds."""
    consumer.subscribe([topic])
    idle = 0.0
    while until_idle is None or idle < until_idle:
        messages = consumer.consume(500, timeout=0.5)
        events = [json.loads(message.value() or b"{}") for message in messages if message.error() is None]
        count(database, events)
        if events:
            consumer.commit(asynchronous=False)
        idle = 0.0 if events else idle + 0.5


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--bootstrap-servers", required=True)
    parser.add_argument(
        "--topic", default="email_events", help="with the house's prefix before it, if it has one"
    )
    parser.add_argument("--group", default="count-events")
    parser.add_argument("--database", default="counts.sqlite")
    parser.add_argument("--until-idle", type=float, help="end when nothing has come for so many seconds")
    args = parser.parse_args()
    database = sqlite3.connect(args.database)
    database.executescript(SCHEMA)
    consumer = Consumer(
        {
            "bootstrap.servers": args.bootstrap_servers,
            "group.id": args.group,
            "auto.offset.reset": "earliest",
            "enable.auto.commit": False,
        }
    )
    try:
        consume(consumer, args.topic, database, until_idle=args.until_idle)
    finally:
        consumer.close()
        for row in database.execute(SHOW):
            print(json.dumps(dict(zip(("campaign", "provider", "type", "machine", "n"), row, strict=True))))


if __name__ == "__main__":
    main()
