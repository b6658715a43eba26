"""Asking relays about mail in doubt: whom, with what, and what several answers come to."""

import asyncio
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from posthouse.domain.ids import JobId, RelayAccount
from posthouse.domain.stream import Stream
from posthouse.relays.base import Answer, CannotTell, Inquirer, Inquiry, WasNotTaken, WasTaken
from posthouse.storage.leases import Askable
from posthouse.telemetry import log

#: Longest wait for a relay's answers, in seconds. A dead worker's mail is to be handed over again within
#: 30 s: its death takes 10 of them to see, and the relay's own word has 10 to come.
ASK_WITHIN: Final = 6.0


@dataclass(frozen=True, slots=True)
class Learned:
    """What is known of one doubt after asking. `account`: who has the mail."""

    answer: Answer
    account: RelayAccount | None
    since: datetime  # the doubt's beginning


def _unheard(account: RelayAccount, answer: Answer) -> None:
    """Nobody counts."""


@dataclass(frozen=True, slots=True)
class Asking:
    """Who can be asked. Of a stream with one that can, `relays` has all accounts: a mail whose worker died
    may have gone to any of them."""

    inquirers: Mapping[RelayAccount, Inquirer]
    relays: Mapping[Stream, Sequence[RelayAccount]]
    message_id: Callable[[JobId, Stream], str]
    #: Told of each answer of a relay that was asked.
    heard: Callable[[RelayAccount, Answer], None] = _unheard

    @property
    def streams(self) -> list[Stream]:
        return list(self.relays)

    async def learn(self, doubts: Sequence[Askable]) -> dict[tuple[JobId, int], Learned]:
        """Ask about all of them, every account at the same time."""
        wanted: dict[RelayAccount, list[Askable]] = defaultdict(list)
        for doubt in doubts:
            for account in self._accounts(doubt):
                wanted[account].append(doubt)
        said = await asyncio.gather(*(self._ask(account, about) for account, about in wanted.items()))
        answers: dict[JobId, dict[RelayAccount, Answer]] = defaultdict(dict)
        for (account, about), told in zip(wanted.items(), said, strict=True):
            for doubt, answer in zip(about, told, strict=True):
                answers[doubt.job_id][account] = answer
                if account in self.inquirers:
                    self.heard(account, answer)
        return {(d.job_id, d.attempt): _together(answers[d.job_id], d.since) for d in doubts}

    def _accounts(self, doubt: Askable) -> Sequence[RelayAccount]:
        """Who may have it: the one it was handed to; any of its stream, when its worker died before it said
        where."""
        return self.relays[Stream(doubt.stream)] if doubt.relay is None else (doubt.relay,)

    async def _ask(self, account: RelayAccount, doubts: Sequence[Askable]) -> Sequence[Answer]:
        inquirer = self.inquirers.get(account)
        if inquirer is None:
            return [CannotTell(f"{account} cannot be asked")] * len(doubts)
        try:
            async with asyncio.timeout(ASK_WITHIN):
                return await inquirer.ask([self._inquiry(doubt) for doubt in doubts])
        except TimeoutError:
            reason = f"{account} did not answer within {ASK_WITHIN:g} s"
        except Exception as error:
            # A defect of one adapter must not keep the house from settling doubts by its other rules.
            log.exception("asking a relay failed", account=account)
            reason = f"asking {account} failed: {error!r}"
        return [CannotTell(reason)] * len(doubts)

    def _inquiry(self, doubt: Askable) -> Inquiry:
        message_id = self.message_id(doubt.job_id, Stream(doubt.stream))
        return Inquiry(doubt.job_id, doubt.attempt, doubt.recipient, message_id, doubt.since)


def _together(answers: Mapping[RelayAccount, Answer], since: datetime) -> Learned:
    """Taken if one has it; not taken only if nobody has it."""
    for account, answer in answers.items():
        if isinstance(answer, WasTaken):
            return Learned(answer, account, since)
    for answer in answers.values():
        if isinstance(answer, CannotTell):
            return Learned(answer, None, since)
    reasons = [answer.reason for answer in answers.values() if isinstance(answer, WasNotTaken)]
    return Learned(WasNotTaken("; ".join(reasons)), None, since)
