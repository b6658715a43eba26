"""`posthouse address check`: what Posthouse makes of an address, or why it takes it for none."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import msgspec
import typer

from posthouse.cli.exits import Exit
from posthouse.domain.address import domain_of, is_reserved, key_of, parse_mailbox
from posthouse.domain.errors import InvalidAddress

group = typer.Typer(help="Addresses.", no_args_is_help=True)


@dataclass(frozen=True, slots=True)
class Good:
    """`address` is what is mailed; `key` what suppressions compare by, the same for every spelling."""

    given: str
    address: str
    name: str
    key: str
    domain: str
    needs_smtputf8: bool  # its local part is not ASCII: few relays take it
    reserved: bool  # a domain that can never be anybody's (RFC 2606, RFC 6761)
    valid: bool = True


@dataclass(frozen=True, slots=True)
class Bad:
    given: str
    code: str
    message: str
    valid: bool = False


def register(app: typer.Typer) -> None:
    app.add_typer(group, name="address")


@group.command("check")
def check(
    addresses: Annotated[
        list[str],
        typer.Argument(metavar="ADDRESS...", help='With or without a name: "Ann <ann@example.org>".'),
    ],
) -> None:
    """How each address is read, as one line of JSON each. Exit code 2 when one of them is none."""
    read = [_read(text) for text in addresses]
    _write(read)
    raise typer.Exit(Exit.OK if all(one.valid for one in read) else Exit.USAGE)


def _read(text: str) -> Good | Bad:
    given = text.encode("utf-8", "replace").decode()  # a shell may hand over bytes that are no UTF-8
    try:
        mailbox = parse_mailbox(text)
    except InvalidAddress as error:
        return Bad(given, error.code, error.message)
    domain = domain_of(mailbox)
    return Good(
        given=given,
        address=mailbox.address,
        name=mailbox.name,
        key=key_of(mailbox),
        domain=domain,
        needs_smtputf8=not mailbox.address.isascii(),
        reserved=is_reserved(domain),
    )


def _write(read: Sequence[Good | Bad]) -> None:
    for one in read:
        sys.stdout.write(msgspec.json.encode(one).decode() + "\n")
