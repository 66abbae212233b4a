"""The program describes itself: every command, argument and option, with examples; and the shells can complete it."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from snakepit import __version__
from snakepit.cli.app import EXAMPLES, make_app, run
from snakepit.cli.failures import ExitStatus

PAGE = Path(__file__).resolve().parents[3] / "docs/command-line.md"
SCRIPT = f'#!/bin/sh\nexec {sys.executable} -m snakepit.cli "$@"\n'


def commands(group: Any = None, before: str = "") -> Iterator[tuple[str, Any]]:
    group = group or typer.main.get_command(make_app())
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from commands(command, f"{before}{name} ")
        else:
            yield f"{before}{name}", command


@pytest.mark.parametrize("name", [name for name, _ in commands()])
def test_every_command_has_a_sentence_an_example_and_a_word_on_each_option(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    command = dict(commands())[name]
    assert len(command.help) > 10
    assert [each.name for each in command.params if not each.help] == []
    assert all(example.startswith("snakepit ") and name in example for example in EXAMPLES[name])
    assert run([*name.split(), "-h"]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert EXAMPLES[name][0] in shown


@pytest.mark.parametrize("name", [name for name, command in commands() if any(each.required for each in command.params)])
def test_what_is_missing_is_explained_where_it_is_missed(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    """It said "Missing argument 'TOOL'." alone."""
    missing = next(each for each in dict(commands())[name].params if each.required)
    assert run(name.split()) == ExitStatus.USAGE
    said = " ".join(capsys.readouterr().err.replace("│", " ").split())
    assert f"Missing argument '{missing.metavar}'. {missing.help}" in said


def test_the_examples_are_those_of_commands_that_there_are() -> None:
    assert EXAMPLES.keys() == {"snakepit", *(name for name, _ in commands())}


def test_help_is_there_on_a_terminal_that_has_no_such_characters() -> None:
    words, environment = [sys.executable, "-m", "snakepit.cli", "calls", "-h"], {**os.environ, "PYTHONIOENCODING": "ascii"}
    done = subprocess.run(words, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert "WORKER_LOST \\u2026" in done.stdout


@pytest.mark.parametrize("word", ["-h", "--help"])
def test_help_is_short_or_long(word: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run([word]) == 0
    assert "Where the pools are" in capsys.readouterr().out


def test_the_version_is_that_of_the_package(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["--version"]) == 0
    assert capsys.readouterr().out == f"snakepit {__version__}\n"


def test_what_only_one_command_needs_is_not_imported_by_the_others() -> None:
    own = [
        f"snakepit.cli.{each}" for each in ("kubectl", "release", "dev_logs", "pod_logs", "doctor.examination", "top.live", "top.screen")
    ]
    program = f"import sys; from snakepit.cli.app import make_app; make_app(); print([m for m in {own} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "[]"


def test_the_page_has_every_exit_status() -> None:
    table = PAGE.read_text().split("## Exit statuses")[1].split("\n## ")[0]
    listed = {int(number) for row in re.findall(r"^\| ([\d, ]+) \|", table, re.MULTILINE) for number in row.split(",")}
    assert {each.value for each in ExitStatus} <= listed


@pytest.fixture
def program(tmp_path: Path) -> dict[str, str]:
    """An environment whose PATH begins with a `snakepit` of this checkout."""
    script = tmp_path / "snakepit"
    script.write_text(SCRIPT)
    script.chmod(0o755)
    return {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"}


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_each_shell_gets_its_script(shell: str, program: dict[str, str]) -> None:
    made = subprocess.run(
        ["snakepit"], env={**program, "_SNAKEPIT_COMPLETE": f"source_{shell}"}, capture_output=True, text=True, check=True
    )
    assert f"complete_{shell}" in made.stdout
    assert "snakepit" in made.stdout


BASH = """
eval "$(_SNAKEPIT_COMPLETE=source_bash snakepit)"
completes() { COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); COMPREPLY=(); _snakepit_completion snakepit; echo "${COMPREPLY[@]}"; }
completes snakepit wor
completes snakepit session re
completes snakepit call --idem
completes snakepit pools --output j
"""


def test_bash_completes_commands_options_and_their_values(program: dict[str, str]) -> None:
    done = subprocess.run(["bash", "--norc", "-c", BASH], env=program, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["workers", "rebind", "--idempotency-key", "json"], done.stderr


ZSH = 'autoload -U compinit; compinit -u -D; eval "$(_SNAKEPIT_COMPLETE=source_zsh snakepit)"; print $_comps[snakepit]'
TAKEN = {
    "zsh": (("zsh", "-f", "-c", ZSH), "_snakepit_completion"),
    "fish": (("fish", "-N", "-c", '_SNAKEPIT_COMPLETE=source_fish snakepit | source; complete -C "snakepit wor"'), "workers"),
}


def test_each_other_shell_that_is_installed_takes_its_script(program: dict[str, str]) -> None:
    installed = [shell for shell in TAKEN if shutil.which(shell)]
    for shell in installed:
        command, found = TAKEN[shell]
        done = subprocess.run(command, env=program, capture_output=True, text=True, check=True)
        assert found in done.stdout, (shell, done.stderr)
