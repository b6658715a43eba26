"""Shell completion: the script of each shell, what it asks for, and what it is told."""

import asyncio
import sys
from pathlib import Path

import pytest
from cli_shell import Shell


async def completed(bare: Shell, words: str) -> list[str]:
    """What bash would be offered at the end of these words."""
    told = await bare.process(
        COMP_WORDS=words, COMP_CWORD=str(len(words.split(" ")) - 1), _POSTHOUSE_COMPLETE="complete_bash"
    )
    assert told.code == 0, told.err
    return told.out.split()


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        ("posthouse em", ["emails"]),
        ("posthouse keys cr", ["create"]),
        ("posthouse keys create x --stream m", ["marketing"]),
        ("posthouse serve q", ["quarantine"]),
        ("posthouse nothing", []),
    ],
)
async def test_bash_is_offered_commands_and_choices(bare: Shell, words: str, offered: list[str]) -> None:
    assert await completed(bare, words) == offered


async def test_zsh_is_offered_commands_with_their_help(bare: Shell) -> None:
    told = await bare.process(_TYPER_COMPLETE_ARGS="posthouse em", _POSTHOUSE_COMPLETE="complete_zsh")
    assert told.code == 0, told.err
    assert told.out.startswith("_arguments")
    assert '"emails":"' in told.out


@pytest.mark.parametrize(
    ("shell", "line"),
    [
        ("bash", "complete -o default -F _posthouse_completion posthouse"),
        ("zsh", "#compdef posthouse"),
        ("fish", "complete --command posthouse"),
    ],
)
async def test_the_script_of_each_shell(bare: Shell, shell: str, line: str) -> None:
    told = await bare.process(_POSTHOUSE_COMPLETE=f"source_{shell}")
    assert told.code == 0, told.err
    assert line in told.out


async def test_a_real_bash_completes_with_our_script(bare: Shell, tmp_path: Path) -> None:
    script = (await bare.process(_POSTHOUSE_COMPLETE="source_bash")).out
    command = tmp_path / "posthouse"
    command.write_text(f'#!/bin/sh\nexec {sys.executable} -m posthouse "$@"\n')
    command.chmod(0o755)
    ask = f"COMP_WORDS=(posthouse em); COMP_CWORD=1; _posthouse_completion {command}; echo ${{COMPREPLY[*]}}"
    bash = await asyncio.create_subprocess_exec(
        *("bash", "--norc", "-c", f"{script}\n{ask}"), cwd=bare.folder, stdout=asyncio.subprocess.PIPE
    )
    out, _ = await bash.communicate()
    assert out.decode().split() == ["emails"]
