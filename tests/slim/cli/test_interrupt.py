"""Ctrl-C: at any moment of a command, one line or none, never a traceback; and what goes on without the command."""

import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer

from modelyard.client import Client, Unreachable
from modelyard.services.cli.entry import INTERRUPTED
from modelyard.services.cli.follow import follow_one, say_what_goes_on
from modelyard.services.cli.gateway import be_patient, connect
from tests.support.fake_gateway import JOB, SEARCH, FakeGateway
from tests.support.waiting import wait_until

COMMANDS = (("up", "--home", "home"), ("serve", "--models-dir", "."), ("train", "neuron"), ("jobs",))
MODULES = ("typer", "httpx", "modelyard.services.cli.output")
MOMENTS = [
    pytest.param(command, module, marks=() if row % len(MODULES) == column else pytest.mark.long)
    for row, command in enumerate(COMMANDS)
    for column, module in enumerate(MODULES)
]
"""Each command while it imports each module; a third of them at every change."""
ENDED = (INTERRUPTED, -signal.SIGINT)
"""Shells show 130 of both. Where Ctrl-C comes while Python runs the text of a generated class, it notes that, and ends
itself by the signal whatever caught the exception (``run_eval_code_obj`` in CPython's pythonrun.c)."""


@pytest.fixture
def silent() -> Iterator[str]:
    """The URL of a gateway that takes connections and never answers: no command ends before it is told to."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"


@pytest.fixture
def gateway() -> Iterator[FakeGateway]:
    with FakeGateway() as running:
        yield running


def start(tmp_path: Path, *arguments: str, python: tuple[str, ...] = ()) -> tuple[subprocess.Popen[bytes], Path]:
    """A command, and the file that it prints its errors to."""
    errors = tmp_path / "errors"
    with errors.open("wb") as file:
        command = [sys.executable, *python, "-m", "modelyard", *arguments]
        return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=file), errors


@pytest.mark.parametrize(("command", "module"), MOMENTS)
def test_ctrl_c_while_modules_are_imported_prints_no_traceback(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, silent: str, command: tuple[str, ...], module: str
) -> None:
    """The second that Python takes to import everything is when people notice that they meant another command."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MODELYARD_URL", silent)
    process, errors = start(tmp_path, *command, python=("-X", "importtime"))
    wait_until(lambda: f" {module}\n" in errors.read_text() or process.poll() is not None, what="the import")
    process.send_signal(signal.SIGINT)
    assert process.wait(60) in ENDED
    printed = [line for line in errors.read_text().splitlines() if not line.startswith("import time:")]
    assert "Traceback" not in "".join(printed)
    assert len(printed) <= 2, printed


@pytest.mark.parametrize(
    ("arguments", "name", "ways"),
    [
        (("train", "neuron", "--wait"), f"job {JOB['id']}", (f"jobs follow {JOB['id']}", f"jobs cancel {JOB['id']}")),
        (
            ("jobs", "follow", str(JOB["id"])),
            f"job {JOB['id']}",
            (f"jobs follow {JOB['id']}", f"jobs cancel {JOB['id']}"),
        ),
        (
            ("train", "neuron", "--search", "3", "--wait"),
            f"search {SEARCH['id']}",
            (f"searches show {SEARCH['id']}", f"searches cancel {SEARCH['id']}"),
        ),
    ],
)
def test_ctrl_c_on_a_command_that_waits_says_what_goes_on(
    tmp_path: Path, gateway: FakeGateway, arguments: tuple[str, ...], name: str, ways: tuple[str, ...]
) -> None:
    """Its id, how to follow it and how to end it; it is not cancelled."""
    process, errors = start(tmp_path, *arguments, "--url", gateway.url)
    wait_until(lambda: len(gateway.asked) > 2 or process.poll() is not None, what="the polls")
    process.send_signal(signal.SIGINT)
    assert process.wait(60) == INTERRUPTED
    printed = errors.read_text()
    assert f"{name} goes on" in printed
    assert all(f"`modelyard {way}`" in printed for way in ways)
    assert "Traceback" not in printed
    assert not any("cancel" in asked for asked in gateway.asked)


def test_a_gateway_that_is_started_again_goes_unnoticed(gateway: FakeGateway) -> None:
    """A rolling upgrade does not end a command that waits."""
    ended = threading.Thread(target=lambda: restart(gateway))
    ended.start()
    assert follow_one(Client(gateway.url), str(JOB["id"]))["result"] == {"version": 7}
    ended.join()


def restart(gateway: FakeGateway) -> None:
    wait_until(lambda: len(gateway.asked) > 2, what="the polls")
    gateway.stop()
    gateway.end("succeeded", version=7)
    gateway.start()


def test_a_gateway_that_is_gone_for_good_is_an_error_that_names_the_job() -> None:
    """The job goes on all the same."""
    client = be_patient(connect("http://127.0.0.1:9"), 0.3)
    with (
        pytest.raises(Unreachable, match=r"no gateway answers at .*; job job-1 goes on; `modelyard"),
        say_what_goes_on("job", "job-1", "`modelyard jobs follow job-1` follows it"),
    ):
        client.jobs.get("job-1")
    with pytest.raises(typer.Exit), say_what_goes_on("job", "job-1", ""):
        raise KeyboardInterrupt


def test_a_submission_that_is_repeated_is_one_job(gateway: FakeGateway) -> None:
    """The gateway that took it may have ended before it answered: the same key says that it is the same one."""
    gateway.failures = 2
    assert be_patient(connect(gateway.url)).jobs.submit("neuron").id == JOB["id"]
    assert len(gateway.keys) == 3
    assert len(set(gateway.keys)) == 1
    assert gateway.keys[0]
