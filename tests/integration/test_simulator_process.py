"""The simulator as a program of its own: settings, ledger across runs, end."""

import asyncio
import signal
import ssl
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiosmtplib
import msgspec
from aiohttp import ClientSession
from simulator_house import Entry, mail


class AccountInfo(msgspec.Struct):
    name: str
    port: int


class Endpoints(msgspec.Struct):
    control_url: str
    accounts: list[AccountInfo]

    def port(self, name: str) -> int:
        return next(account.port for account in self.accounts if account.name == name)


def settings(folder: Path, more: str = "") -> Path:
    path = folder / "simulator.toml"
    path.write_text(
        f"""
        folder = "{folder}/sim"
        time_scale = 0.001
        {more}
        [[smtp]]
        name = "marketing"
        security = "starttls"
        [[sendgrid]]
        name = "transactional"
        api_key = "SG.x"
        key_path = "{folder}/key.pem"
        """
    )
    return path


@asynccontextmanager
async def program(path: Path) -> AsyncIterator[tuple[asyncio.subprocess.Process, Endpoints]]:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-W", "error", "-m", "posthouse.simulator", str(path)),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    try:
        async with asyncio.timeout(20):
            line = await process.stdout.readline()
        yield process, msgspec.json.decode(line, type=Endpoints)
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


async def deliver(endpoints: Endpoints, folder: Path, to: str) -> None:
    trust = ssl.create_default_context(cafile=str(folder / "sim" / "smtp-certificate.pem"))
    port = endpoints.port("marketing")
    await aiosmtplib.send(mail(to), hostname="localhost", port=port, start_tls=True, tls_context=trust)


def numbers(folder: Path) -> list[int]:
    lines = (folder / "sim" / "ledger.jsonl").read_bytes().splitlines()
    return [msgspec.json.decode(line, type=Entry).n for line in lines if line.endswith(b"}")]


async def test_it_takes_mail_and_ends_cleanly_when_told_to(tmp_path: Path) -> None:
    async with program(settings(tmp_path)) as (process, endpoints):
        published = (tmp_path / "sim" / "endpoints.json").read_bytes()
        assert msgspec.json.decode(published, type=Endpoints) == endpoints
        await deliver(endpoints, tmp_path, "open-ann@gmail.sim.test")
        process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(2):
            _, complaints = await process.communicate()
        assert (process.returncode, complaints) == (0, b"")
        assert numbers(tmp_path) == [1]


async def test_a_killed_simulator_goes_on_counting(tmp_path: Path) -> None:
    async with program(settings(tmp_path)) as (process, endpoints):
        await deliver(endpoints, tmp_path, "ok-ann@gmail.sim.test")
        process.kill()
        await process.wait()
    with (tmp_path / "sim" / "ledger.jsonl").open("ab") as ledger:
        ledger.write(b'{"n":2,"at":17')  # what a machine that lost its power may leave
    async with program(settings(tmp_path)) as (_, endpoints):
        await deliver(endpoints, tmp_path, "ok-ann@gmail.sim.test")
    assert numbers(tmp_path) == [1, 2]


async def test_faults_may_be_on_from_the_start_and_are_cleared_over_http(tmp_path: Path) -> None:
    more = 'faults = [{ kind = "refuse", account = "marketing" }, { kind = "throttle", times = 1 }]'
    async with program(settings(tmp_path, more)) as (_, endpoints), ClientSession() as client:
        faults = f"{endpoints.control_url}/sim/faults"
        async with client.get(faults) as answer:
            assert [fault["fault"]["kind"] for fault in await answer.json()] == ["refuse", "throttle"]
        async with client.delete(faults, params={"account": "marketing"}) as answer:
            assert answer.status == 204
        async with client.get(faults) as answer:
            assert [fault["fault"]["kind"] for fault in await answer.json()] == ["throttle"]


async def test_control_answers_nonsense_with_4xx(tmp_path: Path) -> None:
    async with program(settings(tmp_path)) as (_, endpoints), ClientSession(endpoints.control_url) as client:
        bad_faults = [
            b"{",
            b"[]",
            b'{"kind":"explode"}',
            b'{"kind":"hang","account":"nobody"}',
            b'{"kind":"refuse","times":1}',
            b'{"kind":"hang","times":0}',
            b'{"kind":"slow","delay_ms":-1}',
            b'{"kind":"hang","more":1}',
        ]
        for body in bad_faults:
            async with client.post("/sim/faults", data=body) as answer:
                assert answer.status == 400, body
        for path in ("/sim/messages/7", "/sim/messages/x", "/nothing"):
            async with client.get(path) as answer:
                assert answer.status == 404, path
        async with client.get("/sim/messages", params={"limit": "many"}) as answer:
            assert answer.status == 400


async def test_without_bodies_only_the_ledger_is_kept(tmp_path: Path) -> None:
    async with (
        program(settings(tmp_path, "keep_bodies = false")) as (_, endpoints),
        ClientSession() as client,
    ):
        await deliver(endpoints, tmp_path, "ok-ann@gmail.sim.test")
        async with client.get(f"{endpoints.control_url}/sim/messages/1") as answer:
            assert answer.status == 404
        async with client.get(f"{endpoints.control_url}/sim/ledger/summary") as answer:
            summary = await answer.json()
    assert summary["messages"] == 1
    assert summary["by_outcome"] == {"delivered": 1}
    assert not (tmp_path / "sim" / "messages.dat").exists()


async def test_settings_that_make_no_sense_are_told_in_words(tmp_path: Path) -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "posthouse.simulator", str(settings(tmp_path, "colour = 1"))),
        stderr=asyncio.subprocess.PIPE,
    )
    _, complaint = await process.communicate()
    assert process.returncode == 1
    assert b"colour" in complaint
    assert b"Traceback" not in complaint
