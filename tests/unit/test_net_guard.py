"""The egress guard: what is public, what is allowed, and that a name cannot answer twice."""

import socket
from collections.abc import Mapping

import pytest
from aiohttp.abc import AbstractResolver, ResolveResult

from posthouse.net.guard import EgressDenied, EgressGuard, EgressPolicy, is_public

NOT_PUBLIC = [
    "0.0.0.0", "0.1.2.3", "10.0.0.1", "10.255.255.255", "100.64.0.1", "100.100.100.200", "127.0.0.1",
    "127.255.255.254", "169.254.0.1", "169.254.169.254", "169.254.170.2", "172.16.0.1", "172.31.255.255",
    "192.0.0.192", "192.0.2.1", "192.88.99.1", "192.168.0.1", "198.18.0.1", "198.19.255.255", "198.51.100.1",
    "203.0.113.1", "224.0.0.1", "239.255.255.250", "240.0.0.1", "255.255.255.255", "168.63.129.16",
    "::", "::1", "::127.0.0.1", "::ffff:127.0.0.1", "::ffff:10.0.0.1", "::ffff:8.8.8.8", "::ffff:0:127.0.0.1",
    "64:ff9b::127.0.0.1", "64:ff9b::a9fe:a9fe", "64:ff9b:1::1", "100::1", "2001::1", "2001:10::1",
    "2001:db8::1", "2002:7f00:1::", "2002:a9fe:a9fe::1", "3fff::1", "5f00::1", "fc00::1", "fd00:ec2::254",
    "fe80::1", "fe80::1%eth0", "fec0::1", "ff02::1", "ff0e::1",
    "2130706433", "017700000001", "0x7f000001", "127.1", "0177.0.0.1", "0x7f.0.0.1", "127.0.0.1.",
    "localhost",
    "", " 127.0.0.1", "[::1]", "１２７.0.0.1", "8.8.8.8/32", "08.8.8.8",
]  # fmt: skip


@pytest.mark.parametrize("address", NOT_PUBLIC)
def test_not_public(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize(
    "address", ["8.8.8.8", "1.1.1.1", "100.63.0.1", "172.32.0.1", "2606:4700::1111", "64:ff9b::8.8.8.8"]
)
def test_public(address: str) -> None:
    assert is_public(address)


class Answers(AbstractResolver):
    """A name server that answers each question with the next of its answers."""

    def __init__(self, answers: Mapping[str, list[list[str]]]) -> None:
        self._answers = {name: list(turns) for name, turns in answers.items()}

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        return [
            ResolveResult(hostname=host, host=address, port=port, family=socket.AF_INET, proto=0, flags=0)
            for address in self._answers[host].pop(0)
        ]

    async def close(self) -> None:
        self._answers.clear()


def guard(answers: Mapping[str, list[list[str]]], *allowed: str) -> EgressGuard:
    return EgressGuard(EgressPolicy(frozenset(allowed)), Answers(answers))


def info(address: str, port: int) -> tuple[int, int, int, str, tuple[str, int]]:
    return (socket.AF_INET, socket.SOCK_STREAM, 0, "", (address, port))


async def test_private_answers_are_left_out() -> None:
    found = await guard({"mixed.example": [["10.0.0.1", "8.8.8.8", "127.0.0.1"]]}).resolve("mixed.example")
    assert [result["host"] for result in found] == ["8.8.8.8"]


@pytest.mark.parametrize("answer", [["10.0.0.1"], ["169.254.169.254", "::1"], []])
async def test_a_name_without_a_public_address_is_denied(answer: list[str]) -> None:
    with pytest.raises(EgressDenied):
        await guard({"inside.example": [answer]}).resolve("inside.example", 443)


async def test_a_name_that_rebinds_is_denied_at_the_socket_too() -> None:
    rebinding = guard({"rebind.example": [["8.8.8.8"], ["127.0.0.1"]]})
    await rebinding.resolve("rebind.example", 443)
    with pytest.raises(EgressDenied):
        await rebinding.resolve("rebind.example", 443)
    with pytest.raises(EgressDenied):
        rebinding.open_socket(info("127.0.0.1", 443))


async def test_an_allowed_name_opens_its_address_and_port_only() -> None:
    allowing = guard({"sim.local": [["127.0.0.1"]]}, "sim.local:8031")
    with pytest.raises(EgressDenied):
        allowing.open_socket(info("127.0.0.1", 8031))
    await allowing.resolve("sim.local", 8031)
    allowing.open_socket(info("127.0.0.1", 8031)).close()
    with pytest.raises(EgressDenied):
        allowing.open_socket(info("127.0.0.1", 8032))


async def test_a_socket_for_an_allowed_literal() -> None:
    allowing = guard({}, "127.0.0.1:8031")
    allowing.open_socket(info("127.0.0.1", 8031)).close()
    with pytest.raises(EgressDenied):
        allowing.open_socket(info("127.0.0.2", 8031))
    await allowing.close()


@pytest.mark.parametrize(
    ("host", "port", "allowed"),
    [
        ("127.0.0.1", 8031, True),
        ("LOCALHOST", 8031, True),
        ("::1", 8031, True),
        ("127.0.0.1", 8030, False),
        ("localhost.evil.example", 8031, False),
        ("127.0.0.1:8031", 8031, False),
    ],
)
def test_what_the_policy_allows(host: str, port: int, allowed: bool) -> None:
    policy = EgressPolicy(frozenset({"127.0.0.1:8031", "localhost:8031", "[::1]:8031"}))
    assert policy.allows(host, port) is allowed
