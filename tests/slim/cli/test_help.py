"""The help of every command: its examples can be typed, and nothing is imported that the command does not need."""

import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import pytest
import typer

from modelyard import client
from modelyard.models import errors
from modelyard.services.cli.commands import audit
from modelyard.services.cli.exit_codes import MEANINGS
from modelyard.services.cli.help_examples import EXAMPLES
from modelyard.services.cli.main import app
from modelyard.services.ledger import Kind, Outcome
from tests.support.command_line import run_here

ROOT = typer.main.get_command(app)
WITHOUT_JSON = ("up", "serve", "tensorboard", "sync-models")
"""They run until Ctrl-C."""


def walk(command: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, Any]]:
    """Every command by its words, groups too."""
    yield " ".join(path), command
    for name, inner in getattr(command, "commands", {}).items():
        yield from walk(inner, (*path, name))


COMMANDS = dict(walk(ROOT))


def test_every_command_has_examples_in_its_help() -> None:
    """And no other has."""
    assert set(EXAMPLES) == set(COMMANDS)
    for path, lines in EXAMPLES.items():
        shown = run_here(*path.split(), "--help")
        assert shown.status == 0
        assert all(f"    {line}\n" in shown.out for line in lines), path


@pytest.mark.parametrize("path", EXAMPLES)
def test_every_example_can_be_typed(path: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Commands, options and values are understood, and it is an example of this command."""
    monkeypatch.chdir(tmp_path)
    for line in EXAMPLES[path]:
        program, *words = shlex.split(line, comments=True)
        assert program == "modelyard"
        assert words[: len(path.split())] == path.split()
        if not {"--help", "--install-completion"} & set(words):
            parse(ROOT, words)


def parse(command: Any, words: list[str]) -> None:
    """Raises a usage error for words that a command does not understand."""
    with command.make_context("modelyard", words) as context:
        rest = [*getattr(context, "_protected_args", ()), *context.args]
        if hasattr(command, "commands") and rest:
            _, inner, remaining = command.resolve_command(context, rest)
            parse(inner, remaining)
        else:
            assert not rest


def test_every_command_that_prints_can_print_json() -> None:
    """Groups do so where they are commands themselves."""
    for path, command in COMMANDS.items():
        if path and path not in WITHOUT_JSON and (not hasattr(command, "commands") or command.invoke_without_command):
            assert "--json" in {name for option in command.params for name in option.opts}, path


def test_every_command_that_calls_a_gateway_takes_a_keys_file() -> None:
    """Where there is an address there is a key."""
    for path, command in COMMANDS.items():
        options = {name for option in command.params for name in option.opts}
        assert ("--url" in options) is ("--key-file" in options), path


def test_every_exit_status_is_documented() -> None:
    """Of all errors that a command may end with."""
    tree = [errors.ModelyardError, *vars(client).values(), *vars(errors).values()]
    statuses = {kind.exit_code for kind in tree if isinstance(kind, type) and issubclass(kind, errors.ModelyardError)}
    assert statuses <= set(MEANINGS)
    distinct = (client.InvalidInput, client.Conflict, client.NotFound, client.Forbidden, client.Unavailable)
    assert [kind.exit_code for kind in distinct] == [2, 3, 4, 5, 6]


def test_the_audits_kinds_are_the_ledgers() -> None:
    """Which the command does not import."""
    assert list(get_args(audit.Kind)) == list(Kind)
    assert list(get_args(audit.Outcome)) == list(Outcome)


def test_a_command_whose_packages_are_missing_is_listed_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the client's own packages and Typer alone, what calls a gateway works."""
    monkeypatch.setitem(sys.modules, "modelyard.services.cli.commands.gc", None)
    done = run_here("gc", "--dry-run")
    assert (done.status, done.out) == (1, "")
    assert "pip install 'modelyard[local]'" in done.err
    assert "gc" in run_here("--help").out


def test_help_is_not_wrapped_in_a_pipe() -> None:
    """A line for each command, however long."""
    lines = run_here("--help").out.splitlines()
    (line,) = (line for line in lines if line.startswith("  check "))
    assert line.endswith("trains nothing.")


@pytest.mark.parametrize(
    ("arguments", "forbidden"),
    [
        (("jobs", "--url", "http://127.0.0.1:9"), ("sqlalchemy", "numpy", "pydantic_settings", "celery", "flask")),
        (("--version",), ("sqlalchemy", "numpy", "pydantic_settings")),
    ],
)
def test_a_command_imports_only_what_it_needs(arguments: tuple[str, ...], forbidden: tuple[str, ...]) -> None:
    """Not the ledger, which takes longer than the whole command."""
    code = (
        "import contextlib, sys\n"
        "from modelyard.services.cli.main import main\n"
        f"with contextlib.suppress(SystemExit): main({arguments!r})\n"
        "sys.stderr.write('\\n' + ' '.join(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert not set(forbidden) & set(done.stderr.splitlines()[-1].split())


def test_the_client_imports_httpx_and_next_to_nothing_of_ours() -> None:
    """Whoever installs it for a web service feels each module."""
    code = "import sys, modelyard.client; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    found = set(done.stdout.split())
    assert not found & {"numpy", "pydantic", "orjson", "sqlalchemy", "PIL", "flask", "tensorflow", "keras", "typer"}
    ours = {name for name in found if name.startswith("modelyard.") and not name.startswith("modelyard.client")}
    assert ours == {"modelyard.models", "modelyard.models.errors"}
