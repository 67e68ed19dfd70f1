"""Processes that are forked with Keras imported: as good as new ones."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from modelyard.pipeline.processes.forkserver import ForkedProcess, ForkServer
from tests.support.waiting import wait_until

FORKED = "tests.support.forked"
WAIT_S = 60.0
LARGE = 300 << 20
"""Bytes of a process that has imported much, at least; and of one that has not, at most."""


def wait_for_end(process: ForkedProcess) -> tuple[int, str, str]:
    """Status, standard output, and the last line of standard error."""
    with process:
        process.stdin.close()
        output, errors = process.stdout.read().decode(), process.stderr.read().decode()
    return process.wait(), output, errors.strip().rpartition("\n")[2]


@pytest.mark.parametrize(
    ("what", "expected"),
    [
        (["leave", "0"], (0, "", "")),
        (["leave", "7"], (7, "", "")),
        (["leave", "its last words"], (1, "", "its last words")),
        (["fail"], (1, "", "RuntimeError: as nobody expected")),
    ],
)
def test_a_fork_ends_as_a_new_process_would(forks: ForkServer, what: list[str], expected: tuple[int, str, str]) -> None:
    """Exit status, message, traceback."""
    assert wait_for_end(forks.start(FORKED, *what)) == expected


def test_tensorflow_computes_in_a_fork_and_in_a_fork_of_a_fork(forks: ForkServer) -> None:
    """As often as anybody likes, on threads of its own."""
    for _ in range(3):
        assert wait_for_end(forks.start(FORKED, "compute"))[:2] == (0, "4950\n")
    assert wait_for_end(forks.start(FORKED, "nest"))[:2] == (0, "in the same group: True\n4950\n4950\n")


@pytest.mark.parametrize("how", ["end", "hang"])
def test_temporary_files_go_with_the_fork_that_left_them(forks: ForkServer, how: str) -> None:
    """Also where it is killed: a trainer's disk does not fill up with its jobs."""
    with forks.start(FORKED, "leave_files", how) as process:
        left = [Path(path) for path in process.stdout.readline().decode().split()]
        if how == "hang":
            assert all(path.exists() for path in left)
            process.kill()
    process.wait()
    assert len(left) == 2
    assert not any(path.parent.exists() for path in left)


def test_an_import_error_is_reported_by_the_fork(forks: ForkServer) -> None:
    """The server goes on."""
    status, _, words = wait_for_end(forks.start("tests.support.none"))
    assert (status, words) == (1, "ModuleNotFoundError: No module named 'tests.support.none'")
    assert wait_for_end(forks.start(FORKED, "leave", "3"))[0] == 3


def test_a_fork_reads_what_is_written_to_it(forks: ForkServer) -> None:
    """Until that is closed."""
    with forks.start(FORKED, "echo") as process:
        process.stdin.write(b"some words")
        process.stdin.close()
        assert process.stdout.read() == b"some words"


@pytest.mark.parametrize("own_group", [False, True])
def test_forks_begin_with_keras_and_without_threads_or_gpus(forks: ForkServer, own_group: bool) -> None:
    """What makes it safe to fork: the import starts no thread but OpenBLAS's, which that ends before a fork."""
    born = f"leads a group: {own_group}\nhas Keras: True\nsees GPUs: False\nthreads: 1 1\nhas JAX: False\n"
    assert wait_for_end(forks.start(FORKED, "describe", own_group=own_group)) == (0, born, "")


def test_a_server_that_has_nothing_to_do_gives_its_memory_back() -> None:
    """Not while a fork runs; the next request finds everything imported again."""
    with ForkServer(idle_s=0.5, preloaded=("tests.support.large_module",)) as forks:
        for _ in range(2):
            with forks.start(FORKED, "hang") as process:
                assert process.stdout.readline() == b"hanging\n"
                server = psutil.Process(psutil.Process(process.pid).ppid())
                assert wait_for_end(forks.start(FORKED, "leave", "0")) == (0, "", "")
                assert server.memory_info().rss > LARGE
                process.kill()
            wait_until(lambda server=server: server.memory_info().rss < LARGE, WAIT_S, "its memory back")


def test_forks_do_not_share_their_random_numbers(forks: ForkServer) -> None:
    """Not even those of the legacy generator."""
    found = {wait_for_end(forks.start(FORKED, "number"))[1] for _ in range(3)}
    assert len(found) == 3


def test_forks_run_beside_each_other_and_can_be_ended(forks: ForkServer) -> None:
    """One of two is killed, by its group; the other one goes on. Waiting has a limit."""
    with forks.start(FORKED, "hang", own_group=True) as first, forks.start(FORKED, "hang") as second:
        for process in (first, second):
            assert process.stdout.readline() == b"hanging\n"
        with pytest.raises(subprocess.TimeoutExpired):
            first.wait(0.01)
        assert first.pid
        os.killpg(first.pid, signal.SIGTERM)
        assert first.wait(WAIT_S) == -signal.SIGTERM
        assert second.returncode is None
        second.kill()
        assert second.wait(WAIT_S) == -signal.SIGKILL


def test_without_its_server_a_fork_counts_as_killed() -> None:
    """Nobody can say any more how it ended; the next one cannot be started."""
    with ForkServer(preloaded=()) as forks:
        with forks.start(FORKED, "hang") as process:
            assert process.stdout.readline() == b"hanging\n"
            fork = psutil.Process(process.pid)
            server = psutil.Process(fork.ppid())
            server.kill()
            assert process.wait(WAIT_S) == -signal.SIGKILL
            fork.kill()
        wait_until(lambda: server.status() == psutil.STATUS_ZOMBIE, WAIT_S, "the end of the server")
        with pytest.raises(OSError, match=r"Broken pipe|Connection reset"):
            forks.start(FORKED, "leave", "0")


def test_a_server_ends_with_whoever_started_it() -> None:
    """However that ends."""
    code = (
        "import sys; from modelyard.pipeline.processes.forkserver import ForkServer; f = ForkServer(); sys.stdin.read()"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE) as owner:
        started = psutil.Process(owner.pid)
        (server,) = wait_until(started.children, WAIT_S, "the server")
        owner.kill()
    wait_until(lambda: not server.is_running() or server.status() == psutil.STATUS_ZOMBIE, WAIT_S, "its end")
