"""Health checks that see more than that a process is there."""

import os
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from modelyard.services import heartbeat
from modelyard.services.ledger import JobRequest, Ledger
from modelyard.services.scheduler.settings import SchedulerSettings
from modelyard.services.trainer.liveness import MAX_TICK_AGE_S, LoopLiveness, is_worker_alive


def check(path: Path, seconds: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "modelyard.services.heartbeat", str(path), seconds]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_a_process_that_worked_lately_is_well(tmp_path: Path) -> None:
    """As a container engine checks it: by exit status."""
    heartbeat.beat(tmp_path / "beat")
    assert check(tmp_path / "beat", "600").returncode == 0


def test_a_silent_process_is_unhealthy_and_the_check_says_for_how_long(tmp_path: Path) -> None:
    """Also before its first beat."""
    never, old = tmp_path / "never", tmp_path / "old"
    heartbeat.beat(old)
    os.utime(old, (0, 0))
    for path in (never, old):
        answer = check(path, "30")
        assert answer.returncode == 1
        assert f"no heartbeat in {path}" in answer.stdout


def test_the_heartbeat_is_optional(monkeypatch: pytest.MonkeyPatch) -> None:
    """On one machine there is no file."""
    monkeypatch.delenv("MODELYARD_HEARTBEAT", raising=False)
    heartbeat.beat(SchedulerSettings.load().heartbeat)


def test_a_worker_whose_loop_hangs_does_not_get_on(tmp_path: Path) -> None:
    """Nor does one that has not begun."""
    now = [0.0]
    loop = LoopLiveness(lambda: now[0])
    with closing(Ledger(f"sqlite:///{tmp_path / 'ledger.db'}")) as ledger:
        assert not is_worker_alive(loop, ledger, "worker")
        loop.tick()
        assert is_worker_alive(loop, ledger, "worker")
        now[0] += MAX_TICK_AGE_S
        assert not is_worker_alive(loop, ledger, "worker")


def test_a_worker_that_lost_a_lease_does_not_get_on(tmp_path: Path) -> None:
    """Its loop may turn as it likes; another worker's lost job is no fault of this one."""
    loop = LoopLiveness()
    loop.tick()
    with closing(Ledger(f"sqlite:///{tmp_path / 'ledger.db'}")) as ledger:
        job = ledger.jobs.add(JobRequest(model="m"), by="somebody")
        assert ledger.jobs.claim(job.id, "worker", lease_s=-1)
        assert not is_worker_alive(loop, ledger, "worker")
        assert is_worker_alive(loop, ledger, "another")
