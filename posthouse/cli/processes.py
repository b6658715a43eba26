"""Several processes of one role, under one that starts them again: what each is told, where it answers."""

import asyncio
import os
from collections.abc import Sequence
from pathlib import Path
from typing import assert_never

import msgspec

from posthouse.app.probes import NO_PORT
from posthouse.app.role import RoleName, worker_stream
from posthouse.cli.supervisor import Role, Supervisor
from posthouse.config import Settings
from posthouse.domain.errors import Misconfigured
from posthouse.domain.stream import Stream

#: Roles whose processes answer on one port, which the kernel deals out to them. The others have a port each.
_ONE_PORT = frozenset({RoleName.API, RoleName.TRACK})


def children_of(role: RoleName, stream: Stream | None, count: int, settings: Settings) -> list[Role]:
    """What each of `count` processes is told. Raises Misconfigured."""
    whose = () if stream is None else ("--stream", stream.value)
    first = _port_of(settings, role, stream)
    if role in _ONE_PORT:
        shared = (role.value, "--port", str(first), "--share-port")
        return [Role(f"{role}-{n + 1}", shared) for n in range(count)]
    ports = [NO_PORT if first == NO_PORT else first + n for n in range(count)]
    if taken := (set(ports[1:]) & _configured_ports(settings)) - {NO_PORT}:
        raise Misconfigured(
            f"{count} processes from port {first} on would need port {min(taken)}, which is another role's. "
            "Name a port that has room after it with --port, or 0 for none."
        )
    return [
        Role(f"{role}-{n}", (role.value, *whose, "--port", str(port)), _instance(settings, n))
        for n, port in enumerate(ports, start=1)
    ]


def _instance(settings: Settings, number: int) -> dict[str, str]:
    """Static members of a consumer group need a name each."""
    instance = settings.kafka.instance
    return {"POSTHOUSE_KAFKA_INSTANCE": f"{instance}-{number}"} if instance else {}


async def supervise(children: Sequence[Role], config: Path | None, stop: asyncio.Event) -> None:
    """Run them until `stop`. Raises Misconfigured when one cannot stay up; the others are ended then."""
    environment = {**os.environ, **({} if config is None else {"POSTHOUSE_CONFIG": str(config)})}
    supervisor = Supervisor(children, environment, None)
    await supervisor.start()
    try:
        await supervisor.watch(stop)
    finally:
        await supervisor.stop()


def _port_of(settings: Settings, role: RoleName, stream: Stream | None) -> int:
    house = settings.house
    match role:
        case RoleName.API:
            return house.api_port
        case RoleName.WORKER:
            return house.worker_ports[worker_stream(stream)]
        case RoleName.DISPATCHER:
            return house.dispatcher_port
        case RoleName.PROCESSOR:
            return house.processor_port
        case RoleName.TRACK:
            return house.track_port
        case RoleName.QUARANTINE | RoleName.INBOUND | RoleName.SIMULATOR:
            raise Misconfigured(f"There is one {role}, and it has no port to be given: leave the option out.")
        case _:
            assert_never(role)


def at_port(settings: Settings, role: RoleName, stream: Stream | None, port: int) -> Settings:
    """With another port for this role. Raises Misconfigured for one that has none."""
    house = settings.house
    match role:
        case RoleName.WORKER:
            ports = {**house.worker_ports, worker_stream(stream): port}
            house = msgspec.structs.replace(house, worker_ports=ports)
        case RoleName.API:
            house = msgspec.structs.replace(house, api_port=port)
        case RoleName.DISPATCHER:
            house = msgspec.structs.replace(house, dispatcher_port=port)
        case RoleName.PROCESSOR:
            house = msgspec.structs.replace(house, processor_port=port)
        case RoleName.TRACK:
            house = msgspec.structs.replace(house, track_port=port)
        case RoleName.QUARANTINE | RoleName.INBOUND | RoleName.SIMULATOR:
            _port_of(settings, role, stream)  # refuses
        case _:
            assert_never(role)
    return msgspec.structs.replace(settings, house=house)


def _configured_ports(settings: Settings) -> set[int]:
    house = settings.house
    alone = {house.api_port, house.track_port, house.processor_port, house.dispatcher_port}
    return {*alone, *house.worker_ports.values(), settings.simulation.control_port}
