"""A process that stands still with SQLite's write lock ends; one that does not hold it, or goes on, does not."""

import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import psutil
import pytest

from modelyard.services.ledger import JobRequest, Ledger
from modelyard.services.ledger.sql.stopped_writer import MAX_HOLD_S, StoppedWriterWatch, find_holder
from tests.support.processes import WAIT_S
from tests.support.signals import stand_still
from tests.support.waiting import wait_until

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")

WRITER = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1])
connection.execute(sys.argv[2])
print("ready", flush=True)
sys.stdin.read()
connection.commit()
"""
WRITE = "UPDATE jobs SET model = 'nobody'"
READ = "SELECT * FROM jobs"


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "ledger.db"


@pytest.fixture
def ledger(file: Path) -> Iterator[Ledger]:
    with closing(Ledger(f"sqlite:///{file}")) as found:
        submit(found)
        yield found


def submit(ledger: Ledger) -> str:
    return ledger.jobs.add(JobRequest(model="neuron"), by="test").id


def can_write(file: Path) -> bool:
    """At once; a ledger would wait for seconds."""
    with closing(sqlite3.connect(file, timeout=0)) as connection, suppress(sqlite3.OperationalError):
        connection.execute("BEGIN IMMEDIATE")
        return True
    return False


@contextmanager
def process(file: Path, statement: str) -> Iterator[psutil.Popen]:
    """In the middle of a transaction."""
    command = [sys.executable, "-c", WRITER, str(file), statement]
    with psutil.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as found:
        try:
            assert found.stdout.readline() == "ready\n"
            yield found
        finally:
            with suppress(psutil.NoSuchProcess):
                found.kill()


def test_a_writer_that_stands_still_is_killed_and_its_change_is_undone(file: Path, ledger: Ledger) -> None:
    """Not at once: it may go on. Until then others get an error; afterwards they write."""
    watch = StoppedWriterWatch(file, clock := Clock())
    with process(file, WRITE) as writer:
        stand_still(writer)
        assert find_holder(file.with_name("ledger.db-shm")) == writer.pid
        assert watch.check() is None
        assert not can_write(file)
        assert watch.check() is None
        clock.now = MAX_HOLD_S
        assert watch.check() == writer.pid
        assert writer.wait(WAIT_S) == -signal.SIGKILL
    job = submit(ledger)
    assert {found.model for found in ledger.jobs.find()} == {"neuron"}
    assert ledger.jobs.get(job)
    assert watch.check() is None


def leave_running(process: psutil.Popen) -> None:
    """It is slow."""


@pytest.mark.parametrize(("statement", "prepare"), [(WRITE, leave_running), (READ, stand_still), (READ, leave_running)])
def test_no_other_process_is_killed(
    file: Path, ledger: Ledger, statement: str, prepare: Callable[[psutil.Popen], None]
) -> None:
    """A writer that runs, however long; a reader that stands still: others can write beside it."""
    watch = StoppedWriterWatch(file, clock := Clock())
    with process(file, statement) as other:
        prepare(other)
        assert watch.check() is None
        clock.now = 10 * MAX_HOLD_S
        assert watch.check() is None
        assert other.is_running()
    submit(ledger)


def test_a_writer_that_goes_on_between_two_checks_is_left_alone(file: Path, ledger: Ledger) -> None:
    """It is counted anew when it stands still again."""
    watch = StoppedWriterWatch(file, clock := Clock())
    with process(file, WRITE) as writer:
        stand_still(writer)
        assert watch.check() is None
        writer.send_signal(signal.SIGCONT)
        wait_until(lambda: writer.status() != psutil.STATUS_STOPPED, WAIT_S, "a process that goes on")
        clock.now = MAX_HOLD_S
        assert watch.check() is None
        stand_still(writer)
        assert watch.check() is None
        assert writer.is_running()
    submit(ledger)


def test_a_file_that_is_no_database_has_no_writer(tmp_path: Path) -> None:
    """Nor has one that is not there."""
    assert StoppedWriterWatch(tmp_path / "none.db").check() is None
