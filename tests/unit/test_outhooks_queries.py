"""No statement stores events behind the back of webhooks (docs/adr/0023)."""

from posthouse.storage.sql import load_queries


def test_whatever_stores_events_puts_by_what_webhooks_want() -> None:
    storing = [query for query in load_queries().all() if "INSERT INTO email_event" in query.sql]
    assert len(storing) >= 6
    for query in storing:
        assert query.sql.count("INSERT INTO webhook_event") == 1, query.label
        assert "FROM webhook_interest" in query.sql, query.label
