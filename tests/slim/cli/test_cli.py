"""The command line: what it sends, what it says, and that it never loads what it does not need."""

import importlib.metadata
import os
import re
import stat
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from modelyard.models.errors import InvalidRecipe, ModelyardError
from modelyard.pipeline.job_options import parse_overrides
from modelyard.services.cli import output
from modelyard.services.cli.commands.local.doctor import check_data, check_gateway, check_store
from modelyard.services.cli.prediction_body import read_prediction_body
from modelyard.services.cli.processes import launch
from modelyard.services.cli.processes.supervisor import Service, ServiceDied, Supervisor
from tests.support.slim_programs import modelyard
from tests.support.waiting import wait_until


def test_the_version_is_printed() -> None:
    """By ``modelyard --version``, and by ``python -m modelyard --version``."""
    script = Path(sys.executable).with_name("modelyard")
    ways = ([script], [sys.executable, "-m", "modelyard"])
    one, other = (subprocess.run([*way, "--version"], capture_output=True, text=True, check=True) for way in ways)
    assert one.stdout == other.stdout == f"modelyard {importlib.metadata.version('modelyard')}\n"


def test_an_unknown_model_name_suggests_the_closest_one() -> None:
    """Before anything is started; exit status 2."""
    found = modelyard("up", "--model", "mnist_cn")
    assert found.returncode == 2
    assert "did you mean mnist_cnn" in found.stderr


def test_without_a_gateway_the_error_names_the_remedy() -> None:
    """One line, exit status 6."""
    found = modelyard("jobs", "--url", "http://127.0.0.1:9")
    assert found.returncode == 6
    assert found.stderr.count("\n") == 1
    assert "no gateway answers at http://127.0.0.1:9" in found.stderr
    assert "make up" in found.stderr
    assert "Traceback" not in found.stderr


def test_a_set_without_a_value_is_refused() -> None:
    """``--set epochs`` says what was expected and what came."""
    assert parse_overrides(["epochs=3", "note=a=b"]) == {"epochs": "3", "note": "a=b"}
    with pytest.raises(InvalidRecipe, match="expects key=value, received 'epochs'"):
        parse_overrides(["epochs"])
    with pytest.raises(InvalidRecipe, match="expects a key once, received epochs=3 and epochs=4"):
        parse_overrides(["epochs=3", "epochs=4"])


def test_the_kind_of_a_body_is_seen_from_its_bytes(tmp_path: Path) -> None:
    """Images by their signature, JSON by its brace, anything else is text; names of files and ``-`` are understood."""
    files = {"a.bin": b"\x89PNG\r\n", "b.bin": b"\xff\xd8\xff\xe0", "c.bin": b' {"instances": []}', "d.bin": b"fine"}
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    kinds = [read_prediction_body(str(tmp_path / name))[1] for name in files]
    assert kinds == ["image/png", "image/jpeg", "application/json", "text/plain"]
    assert read_prediction_body("-", b"from a pipe") == (b"from a pipe", "text/plain")
    assert read_prediction_body("No such file: a review.") == (b"No such file: a review.", "text/plain")
    review = "A review that is longer than any file's name. " * 10
    assert read_prediction_body(review) == (review.encode(), "text/plain")
    assert read_prediction_body("{sic} a fine film") == (b"{sic} a fine film", "text/plain")
    (tmp_path / "a.csv").write_text("age,plan\n41,gold\n")
    assert read_prediction_body(str(tmp_path / "a.csv"))[1] == "text/csv"
    (tmp_path / "a.gif").write_bytes(b"GIF89a")
    assert read_prediction_body(str(tmp_path / "a.gif"))[1] == "image/gif"


def test_a_row_by_name_is_a_body_with_one_row(tmp_path: Path) -> None:
    """As an argument, in a file, or from a pipe; what is a body already stays one."""
    row, expected = '{"age": 41, "plan": "gold"}', b'{"instances": [{"age": 41, "plan": "gold"}]}'
    (tmp_path / "row.json").write_text(row)
    for given, piped in ((row, None), (str(tmp_path / "row.json"), None), ("-", row.encode())):
        assert read_prediction_body(given, piped) == (expected, "application/json")
    body = '{"inputs": {"age": [41]}}'
    assert read_prediction_body(body) == (body.encode(), "application/json")


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ("typo.png", "no such file: typo.png"),
        ("images/7.JPEG", "no such file: images/7.JPEG"),
        ("./review", "no such file: ./review"),
        ("/", "a folder, not a file: /"),
    ],
)
def test_a_name_without_a_file_is_no_text(given: str, words: str) -> None:
    """A misspelled name would be answered as a review otherwise."""
    with pytest.raises(ModelyardError, match=words):
        read_prediction_body(given)


def test_samples_are_marked() -> None:
    """Wherever a dataset is named."""
    assert output.format_dataset({"name": "digits", "source": "sample"}) == "digits (sample, not for real use)"
    assert output.format_dataset({"name": "MNIST", "source": "real"}) == "MNIST"


def test_the_doctor_says_how_to_mend(tmp_path: Path) -> None:
    """Missing store, missing data, nothing listening: each with the way out."""
    findings = [*check_store(tmp_path), *check_data(tmp_path), *check_gateway("http://127.0.0.1:9")]
    assert all(finding.remedy for finding in findings if finding.level != "ok")
    assert any("MODELYARD_DATA_DIR" in finding.remedy for finding in findings)


def test_the_doctor_finds_a_store_that_cannot_be_written(tmp_path: Path) -> None:
    """A file in the store's place is bad, not a crash."""
    (tmp_path / "store").write_text("")
    (finding,) = check_store(tmp_path)
    assert finding.level == "bad"
    assert "not writable" in finding.message


# --- redis ------------------------------------------------------------------------------------------------------------


def test_the_socket_folder_is_private_and_short_enough(tmp_path: Path) -> None:
    """Mode 0700; a path that is too long for a unix socket is replaced by one that is not."""
    near = launch.make_private_folder(tmp_path)
    far = launch.make_private_folder(tmp_path / ("deep" * 40))
    for folder in (near, far):
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        assert len(str(folder / "redis.sock")) < 108
    assert near.is_relative_to(tmp_path)
    far.rmdir()


@pytest.mark.parametrize("name", ["a b", "50%20", "me@home", "a,b", "a?b", "a#b", "é"])
def test_sockets_lie_where_every_url_can_name_them(tmp_path: Path, name: str) -> None:
    """Whatever the folder of all other files is called."""
    folder = launch.make_private_folder(tmp_path / name)
    assert re.fullmatch("[a-z0-9/_-]+", str(folder))
    assert folder == launch.make_private_folder(tmp_path / name)
    folder.rmdir()


# --- supervisor -------------------------------------------------------------------------------------------------------


def service(name: str, code: str, ready: Path) -> Service:
    return Service(name, [sys.executable, "-c", code], ready.exists)


SERVE = "import pathlib, time, sys; pathlib.Path({!r}).write_text('x'); time.sleep(600)"
SERVE_WHEN_RELEASED = "import pathlib, time\nwhile not pathlib.Path({!r}).exists(): time.sleep(0.05)\n" + SERVE


def test_a_service_that_dies_is_restarted(tmp_path: Path) -> None:
    """Its second life makes it ready again."""
    said: list[str] = []
    flag, started = tmp_path / "ready", tmp_path / "release"
    supervisor = Supervisor(tmp_path / "log", said.append)
    running = service("toy", SERVE_WHEN_RELEASED.format(str(started), str(flag)), flag)
    try:
        started.touch()
        supervisor.start(running)
        supervisor.wait_ready(running, 60)
        first = supervisor.pids()["toy"]
        started.unlink()
        flag.unlink()
        subprocess.run(["kill", "-9", str(first)], check=True)
        with pytest.raises(ServiceDied):  # a restart while one waits is an error: what was waited for has died
            supervisor.wait_ready(running, 60)
        started.touch()
        wait_until(flag.exists)
        assert supervisor.pids()["toy"] != first
        assert said == ["toy ended with status -9; restarting it"]
    finally:
        supervisor.stop()


def test_a_service_that_cannot_start_is_named_with_the_end_of_its_log(tmp_path: Path) -> None:
    """The end of its log is in the error."""
    supervisor = Supervisor(tmp_path / "log", lambda _: None)
    broken = service("toy", "import sys; sys.exit('no room at the inn')", tmp_path / "never")
    try:
        supervisor.start(broken)
        with pytest.raises(ServiceDied, match="toy ended: no room at the inn"):
            supervisor.wait_ready(broken, 60)
    finally:
        supervisor.stop()


def test_stopping_ends_grandchildren_too(tmp_path: Path) -> None:
    """A whole process group goes, even if its leader ignores SIGTERM's purpose."""
    flag = tmp_path / "ready"
    code = "import subprocess, sys; p = subprocess.Popen([sys.executable, '-c', sys.argv[1]]); p.wait()"
    supervisor = Supervisor(tmp_path / "log", lambda _: None)
    nested = Service("toy", [sys.executable, "-c", code, SERVE.format(str(flag))], flag.exists)
    supervisor.start(nested)
    supervisor.wait_ready(nested, 60)
    group = supervisor.pids()["toy"]
    supervisor.stop()
    wait_until(lambda: not alive_in(group))


def alive_in(group: int) -> list[int]:
    """Processes of a group that still run; zombies wait for init only."""
    found = []
    for process in psutil.process_iter(["status"]):
        with suppress(ProcessLookupError):
            if os.getpgid(process.pid) == group and process.info["status"] != psutil.STATUS_ZOMBIE:
                found.append(process.pid)
    return found
