"""x"""


async def bench() -> list[dict[str, object]]:
    return []
