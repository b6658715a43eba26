"""Posthouse with a bug built in, for audits to find: `python broken_build.py BUG LOG serve worker ...`.

`loses`: one mail in a thousand is not sent, and recorded as if it were. `doubles`: one in a thousand is sent
twice. LOG gets the job ids that it befell.
"""

import sys
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path

from posthouse.cli.main import main
from posthouse.domain.message import RawMail, Rendered
from posthouse.relays.base import Accepted, Gate, Outcome, Tell
from posthouse.relays.smtp import SmtpRelay

ONE_IN = 1_000


class Bug(StrEnum):
    LOSES = "loses"
    DOUBLES = "doubles"


def break_relay(bug: Bug, log: Path) -> None:
    honest = SmtpRelay.send_many
    seen = 0

    async def send_many(
        self: SmtpRelay, mails: Sequence[Rendered | RawMail], gate: Gate, tell: Tell
    ) -> list[Outcome]:
        nonlocal seen
        first, seen = seen, seen + len(mails)
        unlucky = next((n for n in range(len(mails)) if (first + n + 1) % ONE_IN == 0), None)
        if unlucky is None:
            return await honest(self, mails, gate, tell)
        with log.open("a", encoding="ascii") as file:
            file.write(f"{mails[unlucky].job_id}\n")
        match bug:
            case Bug.LOSES:
                outcomes = await honest(self, [*mails[:unlucky], *mails[unlucky + 1 :]], gate)
                return [*outcomes[:unlucky], Accepted("1", "250 2.0.0 Ok"), *outcomes[unlucky:]]
            case Bug.DOUBLES:
                await honest(self, [mails[unlucky]], gate)
                return await honest(self, mails, gate)

    setattr(SmtpRelay, "send_many", send_many)  # noqa: B010  # the bug


if __name__ == "__main__":
    break_relay(Bug(sys.argv[1]), Path(sys.argv[2]))
    main(sys.argv[3:])
