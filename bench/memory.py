"""memory: one worker sending 200,000 mails; its resident memory at the most, and in the first quarter."""

from bench import send_path

MAILS = 200_000


async def bench() -> list[dict[str, object]]:
    line = await send_path.one(1, MAILS)
    kept = ("mails", "per_s", "slots", "rss_mb_max", "rss_mb_first_quarter", "sink")
    return [{"bench": "memory", **{name: line[name] for name in kept}}]
