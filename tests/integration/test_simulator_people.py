"""What simulated people and machines do to a house that runs, by both ways in."""

from pathlib import Path

import aiosmtplib
import msgspec
import pytest
from simulator_house import House, Simulation, Summary, house, mail, order, simulating

from posthouse.simulator.people import PREFETCHER_AGENT, SCANNER_AGENT


def body(base: str) -> str:
    return (
        f'<p>Hi</p><a href="{base}/c/1?a=1&amp;b=2">one</a> <a href="{base}/c/2">two</a>'
        f'<a href="{base}/u/tok">leave</a><img src="{base}/o/1" width="1" height="1">'
    )


async def arrive(simulation: Simulation, there: House, via: str, to: str) -> Summary:
    """Sends one mail with a pixel, two links and both ways to unsubscribe; waits until all is done."""
    unsubscribe = f"{there.base}/u/tok"
    if via == "sendgrid":
        await simulation.send(order(to, html=body(there.base), unsubscribe=unsubscribe))
    else:
        message = mail(to, html=body(there.base), unsubscribe=unsubscribe)
        port = simulation.port("marketing")
        await aiosmtplib.send(message, hostname="127.0.0.1", port=port, start_tls=False)
    await simulation.idle()
    return await simulation.summary()


@pytest.mark.parametrize("via", ["sendgrid", "smtp"])
@pytest.mark.parametrize(
    ("prefix", "visits", "done"),
    [
        ("ok", [], {}),
        ("open", ["GET /o/1"], {"human_open": 1}),
        ("click", ["GET /o/1", "GET /c/?"], {"human_open": 1, "click": 1}),
        ("unsub", ["GET /o/1", "POST /u/tok"], {"human_open": 1, "unsubscribe": 1}),
        ("unsubpage", ["GET /o/1", "GET /u/tok", "POST /u/tok"], {"human_open": 1, "unsubscribe": 1}),
        ("machine", ["GET /o/1"], {"machine_open": 1}),
        ("scanner", ["GET /c/?", "GET /c/?", "GET /u/tok"], {"machine_click": 2}),
    ],
)
async def test_everyone_does_his_own_thing(
    tmp_path: Path, via: str, prefix: str, visits: list[str], done: dict[str, int]
) -> None:
    async with house() as there, simulating(tmp_path) as simulation:
        summary = await arrive(simulation, there, via, f"{prefix}-ann@gmail.sim.test")
        seen = [path.replace("/c/1", "/c/?").replace("/c/2", "/c/?") for path in there.paths()]
        assert sorted(seen) == sorted(visits)
        assert {kind: n for kind, n in summary.done.items() if kind not in ("processed", "delivered")} == done
        assert summary.failed == summary.refused == {}


async def test_agents_say_who_came(tmp_path: Path) -> None:
    async with house() as there, simulating(tmp_path) as simulation:
        for prefix in ("open", "machine", "scanner", "unsub"):
            await arrive(simulation, there, "sendgrid", f"{prefix}-ann@gmail.sim.test")
        agents = {(what, agent) for what, agent, _ in there.hits}
        assert ("GET /o/1", PREFETCHER_AGENT) in agents
        assert ("GET /u/tok", SCANNER_AGENT) in agents
        assert any(what == "GET /o/1" and "GoogleImageProxy" in agent for what, agent in agents)
        posted = [text for what, _, text in there.hits if what == "POST /u/tok"]
        assert posted == ["List-Unsubscribe=One-Click"]


async def test_the_page_is_posted_with_its_fields(tmp_path: Path) -> None:
    async with house() as there, simulating(tmp_path) as simulation:
        await arrive(simulation, there, "smtp", "unsubpage-ann@gmail.sim.test")
        assert [text for what, _, text in there.hits if what.startswith("POST")] == ["scope=all"]


async def test_nobody_leaves_this_machine(tmp_path: Path) -> None:
    """Also not by a redirect: the house above sends every click to a shop that is never opened."""
    html = '<img src="http://192.0.2.1/o"><a href="http://tracking.example/c">x</a>'
    async with simulating(tmp_path) as simulation:
        for prefix in ("click", "scanner", "unsub"):
            to = f"{prefix}-ann@gmail.sim.test"
            await simulation.send(order(to, html=html, unsubscribe="https://shop.example/u/1"))
        await simulation.idle()
        summary = await simulation.summary()
        assert summary.refused == {"human_open": 2, "click": 1, "machine_click": 1, "unsubscribe": 1}
        assert summary.people["refused_off_machine"] == 5
        assert not {"click", "human_open"} & summary.done.keys()


async def test_a_house_that_is_away_makes_visits_fail(tmp_path: Path) -> None:
    async with house() as there:
        gone = there.base
    async with simulating(tmp_path) as simulation:
        await simulation.send(order("click-ann@gmail.sim.test", html=body(gone)))
        await simulation.idle()
        assert (await simulation.summary()).failed == {"human_open": 1, "click": 1}


async def test_two_runs_with_one_seed_are_the_same(tmp_path: Path) -> None:
    counts = []
    async with house() as there:
        for run in ("one", "two"):
            async with simulating(tmp_path / run) as simulation:
                for n in range(150):
                    await simulation.send(order(f"person{n}@yahoo.sim.test", html=body(there.base)))
                await simulation.idle()
                counts.append(
                    ((await simulation.summary()).decided, [e.outcome for e in simulation.ledger()])
                )
    assert counts[0] == counts[1]
    assert {"human_open", "machine_open", "click", "hard"} <= counts[0][0].keys()


async def test_events_are_written_down_too(tmp_path: Path) -> None:
    class Line(msgspec.Struct):
        kind: str
        stage: str
        n: int
        to: str
        job_id: str | None

    async with house() as there, simulating(tmp_path) as simulation:
        await arrive(simulation, there, "smtp", "open-ann@gmail.sim.test")
    lines = [
        msgspec.json.decode(line, type=Line)
        for line in simulation.settings.events_path.read_bytes().splitlines()
    ]
    assert [(line.kind, line.stage) for line in lines] == [
        ("delivered", "decided"),
        ("human_open", "decided"),
        ("human_open", "done"),
    ]
    assert {(line.n, line.to, line.job_id) for line in lines} == {
        (1, "open-ann@gmail.sim.test", "0198c0de-0000-7000-8000-000000000002")
    }
