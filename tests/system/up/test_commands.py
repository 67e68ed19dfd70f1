"""The ``modelyard`` command against a running system."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from modelyard.pipeline.processes.forkserver import ForkServer
from tests.support.http import http
from tests.support.ports import free_port
from tests.support.programs import run_command
from tests.support.waiting import wait_until
from tests.system.conftest import FINISHED_S, System

Command = Callable[..., subprocess.CompletedProcess[bytes]]
SHORT = ("--set", "epochs=2")
"""Enough for the gate of ``neuron``."""


@pytest.fixture
def modelyard(system: System, forks: ForkServer) -> Command:
    """Runs a command on it."""

    def run(*arguments: str, given: bytes = b"") -> subprocess.CompletedProcess[bytes]:
        return run_command(forks, *arguments, "--url", system.url, given=given, timeout_s=FINISHED_S)

    return run


def test_train_waits_for_the_version_and_prints_that_it_is_stable(modelyard: Command) -> None:
    """Exit status 0, version and test metric."""
    found = modelyard("train", "neuron", *SHORT, "--set", "seed=3", "--wait")
    assert found.returncode == 0, found.stderr
    assert b"neuron version" in found.stdout
    assert b"is stable now" in found.stdout


@pytest.mark.long
def test_a_search_keeps_the_best_of_its_trials(system: System, modelyard: Command) -> None:
    """One version, left for a person to promote; the results of trials are printed, the best first."""
    before = len(system.get("/api/models/neuron")["versions"])
    found = modelyard("train", "neuron", "--search", "3", "--set", "epochs=3", "--wait")
    assert found.returncode == 0, found.stderr
    assert b"trials: 3, epochs: 1\ntrials: 1, epochs: 3\n" in found.stdout
    (search,) = system.get("/api/searches")["searches"]
    version = search["best"]["version"]
    assert f"is the best with r2 {search['best']['value']:.4f}".encode() in found.stdout
    shown = system.get("/api/models/neuron")
    assert (len(shown["versions"]), shown["rollout"]["stable"] != version) == (before + 1, True)
    assert len(system.get(f"/api/jobs?group={search['id']}")["jobs"]) == 4


@pytest.mark.long
def test_a_version_that_began_with_another_says_so(system: System, modelyard: Command) -> None:
    """Its decision record names it."""
    stable = system.get("/api/models/neuron")["rollout"]["stable"]
    found = modelyard("train", "neuron", *SHORT, "--set", "init=stable", "--rollout", "manual", "--wait")
    assert found.returncode == 0, found.stderr
    newest = system.get("/api/models/neuron")["versions"][-1]["version"]
    record = modelyard("versions", "neuron", str(newest)).stdout
    assert f"start       the weights of version {stable}".encode() in record


def test_a_rejected_training_ends_with_status_three_and_the_reason(modelyard: Command) -> None:
    """The gate's own words."""
    found = modelyard("train", "neuron", *SHORT, "--set", "learning_rate=1e-6", "--wait")
    assert found.returncode == 3
    assert b"below the floor" in found.stderr


@pytest.mark.parametrize(
    ("arguments", "status", "text"),
    [
        (("train", "neurn"), 4, b"did you mean neuron"),
        (("train", "neuron", "--set", "epoch=3"), 2, b"did you mean epochs"),
        (("train", "neuron", "--search", "4", "--set", "epoch=3"), 2, b"did you mean epochs"),
        (("predict", "nothing", "x"), 4, b"Servable not found"),
        (("predict", "neuron", "a text"), 2, b"expected application/json"),
        (("versions", "nothing"), 4, b"has no version yet"),
    ],
)
def test_mistakes_are_one_line_with_the_way_out(
    modelyard: Command, arguments: tuple[str, ...], status: int, text: bytes
) -> None:
    """With the exit status of its kind; no traceback."""
    found = modelyard(*arguments)
    assert found.returncode == status
    assert text in found.stderr
    assert b"Traceback" not in found.stderr


def test_predict_takes_a_picture_and_standard_input(system: System, modelyard: Command) -> None:
    """The picture that ``up`` wrote, by name and through a pipe: the same label."""
    picture = system.home / "examples" / "mnist_mlp.png"
    by_name = json.loads(modelyard("predict", "mnist_mlp", str(picture)).stdout)
    by_pipe = json.loads(modelyard("predict", "mnist_mlp", "-", given=picture.read_bytes()).stdout)
    assert by_name["label"] == by_pipe["label"]
    assert by_name["data"] == "sample"


def test_lists_show_what_serves_and_what_ran(modelyard: Command) -> None:
    """Models with their stable version, versions with their state, jobs with their end."""
    assert b"scikit-learn digits (sample, not for real use)" in modelyard("models").stdout
    versions = wait_until(lambda: with_states(modelyard("versions", "mnist_mlp").stdout), 120, "states")
    assert b"(stable)" in versions
    assert b"AVAILABLE" in versions
    assert b"job-" in modelyard("jobs", "--model", "neuron").stdout
    record = modelyard("versions", "mnist_mlp", "1").stdout
    assert all(word in record for word in (b"fingerprint", b"recipe      quick", b"accepted: ", b"promote", b"stable"))


def with_states(listed: bytes) -> bytes | None:
    """The list, if the model server reported its versions in time: beside a training it may not."""
    return None if b"unknown" in listed else listed


def test_a_job_can_be_printed_followed_and_not_cancelled_when_it_has_ended(system: System, modelyard: Command) -> None:
    """By the id that the list shows."""
    job = system.get("/api/jobs?model=neuron")["jobs"][-1]["id"]
    events = modelyard("jobs", "show", job).stdout
    assert all(word in events for word in (b"queued", b"running", b"train", b"publishing", b"succeeded"))
    assert b"is stable now" in modelyard("jobs", "follow", job).stdout
    late = modelyard("jobs", "cancel", job)
    assert (late.returncode, late.stderr.strip()) == (3, f"error: {job} has succeeded".encode())
    assert modelyard("jobs", "log", job).returncode == 0


@pytest.mark.long
def test_a_job_can_be_tried_again_and_lists_are_filtered(system: System, modelyard: Command) -> None:
    """With a budget of a second it fails, and so does the retry, which is another job; a third one is cancelled."""
    endless = ("--set", "epochs=1000", "--set", "batch_size=1")
    asked = modelyard("train", "neuron", *endless, "--budget", "1", "--priority", "high", "--wait")
    assert (asked.returncode, b"timeout" in asked.stderr) == (1, True)
    failed = system.get("/api/jobs?state=failed")["jobs"][0]["id"]
    again = modelyard("jobs", "retry", failed).stdout.split()[0].decode()
    assert (again != failed, system.get(f"/api/jobs/{again}")["retry_of"]) == (True, failed)
    other = modelyard("train", "neuron", *endless).stdout.split()[0].decode()
    assert modelyard("jobs", "cancel", other).returncode == 0
    listed = modelyard("jobs", "--state", "cancelled", "--limit", "1").stdout
    assert (other.encode() in listed, failed.encode() in listed) == (True, False)


def test_roles_and_triggers_are_set_on_the_command_line(system: System, modelyard: Command) -> None:
    """A shadow, a label and a trigger; taken away again, and mistakes are one line."""
    first = system.get("/api/models/neuron/rollout")["stable"]
    assert modelyard("train", "neuron", *SHORT, "--set", "seed=5", "--wait", "--rollout", "canary").returncode == 0
    begun = system.get("/api/models/neuron/rollout")
    assert (begun["stable"], begun["canary"]["percent"]) == (first, 10)
    version = str(begun["canary"]["version"])
    shown = modelyard("rollout", "neuron", "--canary", "0", "--shadow", version, "--label", f"blue={version}")
    assert f"shadow: version {version}; label blue: version {version}".encode() in shown.stdout, shown.stderr
    assert modelyard("rollout", "neuron", "--shadow", "0", "--label", "blue=").returncode == 0
    assert b"expects NAME=VERSION" in modelyard("rollout", "neuron", "--label", "blue").stderr
    nightly = modelyard("triggers", "set", "neuron", "nightly", "--cron", "0 3 * * *")
    assert b"nightly: at 0 3 * * * (UTC)" in nightly.stdout, nightly.stderr
    assert b"nightly" in modelyard("triggers", "list", "neuron").stdout
    assert b"is never due" in modelyard("triggers", "set", "neuron", "t", "--cron", "0 0 30 2 *").stderr
    assert modelyard("triggers", "remove", "neuron", "nightly").returncode == 0
    told = modelyard("audit", "--kind", "trigger", "--subject", "nightly").stdout.decode().splitlines()
    assert [" set " in line for line in told[1:]] == [False, True], told
    assert all("http 127.0.0.1" in line and "neuron nightly" in line for line in told[1:]), told


@pytest.fixture
def import_cats(system: System, forks: ForkServer) -> Command:
    """Imports a folder as the model ``cats``."""

    def run(*arguments: str) -> subprocess.CompletedProcess[bytes]:
        given = ("import", "cats", *arguments, "--labels", "low,middle,high", "--home", str(system.home))
        return run_command(forks, *given, timeout_s=FINISHED_S)

    return run


@pytest.mark.long
def test_imported_models_are_served_canaried_and_rolled_back(
    system: System, modelyard: Command, import_cats: Command, made: Path
) -> None:
    """The first at once, the next one as a canary, each after its parity check on the running model server."""
    models = made / "imported"
    first = import_cats(str(models / "sharp"), "--test", str(models / "test.csv"))
    assert first.returncode == 0, first.stderr
    assert b"golden answers within" in first.stdout
    assert ask_cats(system) == ("1", ["low", "middle", "high"])
    second = import_cats(str(models / "soft"), "--canary", "25")
    assert second.returncode == 0, second.stderr
    assert b"nothing was measured" in second.stdout
    now = system.get("/api/models/cats/rollout")
    assert (now["stable"], now["canary"]["version"], now["canary"]["percent"]) == (1, 2, 25)
    assert b"cats: stable: version 2" in modelyard("promote", "cats", "2").stdout
    wait_until(lambda: ask_cats(system)[0] == "2", FINISHED_S, "the gateway reads the rollout")
    assert b"cats: stable: version 1" in modelyard("rollback", "cats").stdout
    wait_until(lambda: ask_cats(system)[0] == "1", FINISHED_S, "the gateway reads the rollout")
    record = modelyard("versions", "cats", "2").stdout
    assert b"imported    SavedModel" in record
    assert b"nothing was measured" in record
    assert b"imported" in modelyard("versions", "cats").stdout
    assert b"cats" in modelyard("models").stdout
    refused = import_cats(str(models), "--manual")
    assert (refused.returncode, refused.stderr.count(b"\n")) == (2, 1), refused.stderr


def ask_cats(system: System) -> tuple[str, list[str]]:
    """The version that answers, and the labels of a row of each class."""
    rows = {"instances": [[-1.0, 0.0], [0.0, 0.0], [1.0, 0.0]]}
    answer = http.post(f"{system.url}/v1/models/cats:predict?labels=true", json=rows)
    assert answer.status_code == 200, answer.text
    assert answer.headers["X-Model-Data"] == "imported"
    return answer.headers["X-Model-Version"], [row["label"] for row in answer.json()["predictions"]]


@pytest.mark.long
def test_every_job_is_shown_in_tensorboard(system: System) -> None:
    """By model and job, its epochs and its evaluation, on loopback; a port that is taken is one line."""
    job = next(each for each in system.get("/api/jobs")["jobs"] if each["version"])
    port = free_port()
    command = [sys.executable, "-m", "modelyard", "tensorboard", "--home", str(system.home)]
    with subprocess.Popen([*command, "--port", str(port)], stderr=subprocess.DEVNULL) as shown:
        try:
            wanted = {f"{job['model']}/{job['id']}/{part}" for part in ("train", "validation", "test")}
            wait_until(lambda: wanted <= set(list_runs(port)), FINISHED_S, "TensorBoard has read the files")
            taken = subprocess.run([*command, "--port", str(port)], capture_output=True, timeout=60, check=False)
            assert (taken.returncode, taken.stderr.count(b"\n")) == (1, 1), taken.stderr
        finally:
            shown.terminate()


def list_runs(port: int) -> list[str]:
    """What TensorBoard has; nothing before it listens."""
    try:
        return list(http.get(f"http://127.0.0.1:{port}/data/runs").json())
    except httpx.TransportError:
        return []
