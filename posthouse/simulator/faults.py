"""Faults on demand: which one, if any, meets the next mail of an account."""

import asyncio
from dataclasses import dataclass
from typing import Protocol

from posthouse.simulator.settings import FaultKind, FaultSpec


@dataclass(slots=True, eq=False)
class Fault:
    """A fault that is on. `left` None: until cleared. `over` is done when it is cleared."""

    spec: FaultSpec
    left: int | None
    over: asyncio.Future[None]
    hits: int = 0


class Gate(Protocol):
    """An account's listener."""

    async def open(self) -> None: ...

    async def refuse(self) -> None: ...


class FaultBoard:
    def __init__(self) -> None:
        self._faults: list[Fault] = []
        self._gates: dict[str, Gate] = {}
        self._gate_lock = asyncio.Lock()

    async def guard(self, account: str, gate: Gate) -> None:
        """From now on the gate is open, or refuses while a fault says so. Raises OSError."""
        self._gates[account] = gate
        await self._set_gates()

    async def set(self, spec: FaultSpec) -> None:
        """Raises OSError when an account's port was taken by somebody else meanwhile."""
        over = asyncio.get_running_loop().create_future()
        self._faults.append(Fault(spec, spec.times, over))
        await self._set_gates()

    async def clear(self, account: str | None = None) -> None:
        """Ends all faults, or those set for one account; whoever hangs in one is let go. Raises as `set`."""
        ended = [fault for fault in self._faults if account is None or fault.spec.account == account]
        self._faults = [fault for fault in self._faults if fault not in ended]
        for fault in ended:
            fault.over.set_result(None)
        await self._set_gates()

    def release(self) -> None:
        """Lets go whoever hangs, for the end; what was set stays set."""
        for fault in self._faults:
            if not fault.over.done():
                fault.over.set_result(None)

    def take(self, account: str) -> Fault | None:
        """The fault that this mail meets; the oldest first. Uses up one of its times."""
        for fault in self._faults:
            if fault.spec.account in (None, account) and fault.spec.kind is not FaultKind.REFUSE:
                if fault.left == 0:
                    continue
                fault.hits += 1
                if fault.left is not None:
                    fault.left -= 1
                return fault
        return None

    def listed(self) -> tuple[Fault, ...]:
        return tuple(self._faults)

    async def _set_gates(self) -> None:
        async with self._gate_lock:
            for account, gate in self._gates.items():
                await (gate.refuse() if self._refuses(account) else gate.open())

    def _refuses(self, account: str) -> bool:
        return any(
            fault.spec.kind is FaultKind.REFUSE and fault.spec.account in (None, account)
            for fault in self._faults
        )
