"""Run the benchmarks that are named, or all of them."""

import argparse
import asyncio
import json
import sys
from collections.abc import Callable, Coroutine, Mapping

from bench import (
    accept,
    bounces,
    dispatch,
    events,
    forgery,
    fuzz,
    latency,
    lists,
    memory,
    outhooks,
    receiver,
    send_path,
)

BENCHES: Mapping[str, Callable[[], Coroutine[None, None, list[dict[str, object]]]]] = {
    "accept": accept.bench,
    "accept_batch": accept.bench_batch,
    "send_path": send_path.bench,
    "send_path_kafka": send_path.bench_kafka,
    "dispatch": dispatch.bench,
    "events": events.bench,
    "events_kafka": events.bench_on_kafka,
    "receiver": receiver.bench,
    "bounces": bounces.bench,
    "latency": latency.bench,
    "lists": lists.bench,
    "memory": memory.bench,
    "outhooks": outhooks.bench,
    "fuzz": fuzz.bench,
    "forgery": forgery.bench,
}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("names", nargs="*", choices=[*BENCHES, []], help="default: all")
    names = parser.parse_args().names or list(BENCHES)
    for name in names:
        print(f"bench {name} ...", file=sys.stderr)
        for line in asyncio.run(BENCHES[name]()):
            print(json.dumps(line), flush=True)


if __name__ == "__main__":
    main()
