"""What the supervisor's processes may rely on, and what becomes of them without it."""

import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from modelyard.services.cli.processes.supervisor import Service, Supervisor
from tests.support.waiting import wait_until

SUPERVISED = """
import pathlib, signal, sys
from modelyard.services.cli.processes.supervisor import Service, Supervisor

child = "import os, pathlib, sys, time; pathlib.Path(sys.argv[1]).write_text(str(os.getpid())); time.sleep(600)"
command = [sys.executable, "-c", child, sys.argv[1] + "/pid"]
Supervisor(pathlib.Path(sys.argv[1]), on_event=print).start(Service("child", command, lambda: True))
signal.pause()
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a process that its parent died")
def test_processes_end_with_a_supervisor_that_was_killed(tmp_path: Path) -> None:
    """SIGKILL gives it no time to stop them."""
    supervisor = subprocess.Popen([sys.executable, "-c", SUPERVISED, str(tmp_path)])
    try:
        pid = tmp_path / "pid"
        child = int(wait_until(lambda: pid.exists() and pid.read_text(), what="the process"))
        assert runs(child)
    finally:
        supervisor.kill()
        supervisor.wait()
    wait_until(lambda: not runs(child), what="the process's end")


def runs(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def test_processes_import_nothing_from_the_folder_they_were_started_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A user's ``json.py`` stays the user's."""
    (tmp_path / "json.py").write_text("raise ImportError('this file belongs to the user')")
    monkeypatch.chdir(tmp_path)
    done = tmp_path / "done"
    code = f"import json, pathlib; pathlib.Path({str(done)!r}).touch()"
    supervisor = Supervisor(tmp_path / "log", on_event=print)
    try:
        supervisor.start(Service("python", [sys.executable, "-c", code], done.exists))
        wait_until(done.exists, what="the import")
    finally:
        supervisor.stop()
