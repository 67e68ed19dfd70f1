"""The whole system, from outside. The tests are in an order: the last ones break what the first ones need."""

import re
import subprocess
import time
from functools import partial
from pathlib import Path

import httpx
import pytest

from tests.containers.conftest import MARK, System
from tests.support.engine import wait_for
from tests.support.load import INPUTS, Load

OURS = ("gateway", "scheduler", "trainer", "modelserver")
ALL = ("redis", "postgres", "scheduler", "trainer", "modelserver", "gateway")
STOPPED_IN_ORDER = ("scheduler", "trainer", "gateway", "modelserver", "redis", "postgres")
RECOVERS_S = 300.0
STATUS = "import pathlib; print(pathlib.Path('/proc/1/status').read_text())"


def test_both_models_predict_as_in_training(system: System) -> None:
    """The golden inputs, through the gateway, with a key."""
    assert_predicts(system)


def test_requests_without_a_key_are_refused(system: System) -> None:
    """401, from the gateway and for everything but the probes."""
    for path in ("/v1/models/mnist_cnn", "/api/jobs", "/metrics", "/version"):
        assert httpx.get(system.url + path, trust_env=False).status_code == httpx.codes.UNAUTHORIZED
    assert httpx.get(f"{system.url}/healthz", trust_env=False).is_success


def test_the_version_is_the_one_that_was_built(system: System) -> None:
    """Release and revision."""
    assert re.fullmatch(r"\d+\.\d+\.\d+\+gtest", system.get("/version").json()["version"])


@pytest.mark.parametrize("service", OURS)
def test_a_container_has_nothing_that_it_does_not_need(system: System, service: str) -> None:
    """No capabilities, no new ones, no root, nothing to write to but what it works on."""
    status = system.engine.exec(service, "python", "-c", STATUS).decode()
    assert re.search(r"CapEff:\s+0+\n", status)
    assert re.search(r"NoNewPrivs:\s+1", status)
    assert re.search(r"Uid:\s+10001\s", status)
    code = "import pathlib; pathlib.Path('/app/x').touch()"
    assert system.engine.run("exec", system.engine.container(service), "python", "-c", code, check=False).returncode


MOUNTED = {
    "gateway": {"ledger_password", "broker_password", "key_secret"},
    "scheduler": {"ledger_password", "broker_password"},
    "trainer": {"ledger_password", "broker_password"},
}


@pytest.mark.parametrize("service", MOUNTED)
def test_a_container_finds_the_secrets_that_it_needs_and_no_other(system: System, service: str) -> None:
    """The trainer runs the code of models: it finds no key, nor the secret of keys, nor the owner's password."""
    code = "import pathlib; print(*(path.name for path in pathlib.Path('/run/secrets').iterdir()))"
    found = system.engine.exec(service, "python", "-c", code).decode().split()
    assert {name.removeprefix("modelyard_") for name in found} == MOUNTED[service]
    read = "import pathlib; print(pathlib.Path('/run/secrets/modelyard_ledger_password').read_text())"
    owner = (system.engine.secrets / "modelyard_ledger_password").read_text().strip()
    assert system.engine.exec(service, "python", "-c", read).decode().strip() != owner


def test_the_trainer_sees_no_keys_in_the_ledger(system: System) -> None:
    """Whatever code it runs: the database refuses it."""
    code = (
        "from modelyard.services.ledger import Ledger; from modelyard.services.trainer.settings import TrainerSettings;"
        "Ledger(TrainerSettings.load().ledger).keys.list_keys()"
    )
    done = system.engine.run("exec", system.engine.container("trainer"), "python", "-c", code, check=False)
    assert b"permission denied for table keys" in done.stderr + done.stdout


def test_the_trail_is_whole_and_tells_who_did_what(system: System) -> None:
    """In the operator's container: the first key, the first jobs and versions, what was promoted."""
    printed = system.engine.cli("verify")
    assert "audit key" in printed
    assert "history mnist_cnn" in printed
    kinds = {entry["kind"] for entry in system.get("/api/audit?limit=500").json()["entries"]}
    assert {"key", "job", "version", "rollout"} <= kinds


def test_the_model_server_cannot_write_to_the_store(system: System) -> None:
    """It is mounted for reading."""
    code = "import pathlib; pathlib.Path('/store/x').touch()"
    done = system.engine.run("exec", system.engine.container("modelserver"), "python", "-c", code, check=False)
    assert b"Read-only file system" in done.stderr + done.stdout


@pytest.mark.parametrize("service", ALL)
def test_every_service_is_healthy(system: System, service: str) -> None:
    """By its own check."""
    wait_for(service, lambda: system.engine.healthy(service), RECOVERS_S)


def test_logs_tell_what_happened(system: System) -> None:
    """A person who reads them knows what was done about the empty store, with which data, and how far it got."""
    done = '"event":"first version","model":"mnist_cnn","state":"version 1 answers"'
    wait_for("the scheduler's next poll", lambda: done in system.engine.logs("scheduler"), RECOVERS_S)
    trainer = system.engine.logs("trainer")
    assert "using the shipped sample" in trainer or '"stage":"data"' in trainer
    assert '"stage":"rollout"' in trainer


def test_a_job_through_the_queue_makes_a_new_version(system: System) -> None:
    """With the operators' tool, while the old one answers."""
    load = Load(system.url, system.key, system.golden)
    with load.running():
        assert "succeeded" in system.engine.cli("train", "mnist_cnn", "--set", "seed=7", "--wait")
        wait_for("version 2", lambda: system.serves("mnist_cnn", 2), RECOVERS_S)
    assert set(load.seen) == {"right"}, (load.seen, load.examples[:3])


def assert_predicts(system: System) -> None:
    """A hundred golden inputs of both models give the outputs of training."""
    load = Load(system.url, system.key, system.golden)
    with load.running():
        wait_for("a hundred answers", lambda: sum(load.seen.values()) >= 100, RECOVERS_S, 0.1)
    assert set(load.seen) == {"right"}, (load.seen, load.examples[:3])


@pytest.mark.parametrize("how", ["restart", "kill"])
@pytest.mark.parametrize("service", ALL)
def test_predictions_go_on_while_a_container_is_restarted(system: System, service: str, how: str) -> None:
    """Right answers, or 503 with Retry-After; of the gateway itself, refused connections while nobody listens."""
    seen = predict_around_restart(system, system.url, service, how)
    allowed = {"right", "later"}
    if service == "gateway":
        allowed |= {"refused", "cut off"} if how == "kill" else {"refused"}
    assert set(seen.seen) <= allowed, (seen.seen, seen.examples[:5])


@pytest.mark.parametrize("how", ["restart", "kill"])
def test_behind_the_proxy_nobody_is_refused_while_the_gateway_is_restarted(
    system: System, proxy: str, how: str
) -> None:
    """With deploy/proxy/Caddyfile in front, there is always somebody who listens."""
    seen = predict_around_restart(system, proxy, "gateway", how)
    assert set(seen.seen) <= {"right", "later"}, (seen.seen, seen.examples[:5])


def predict_around_restart(system: System, url: str, service: str, how: str) -> Load:
    """What became of predictions before, while and after a container is restarted or killed."""
    load = Load(url, system.key, system.golden)
    with load.running():
        wait_for("answers before", lambda: load.seen["right"] >= 20, RECOVERS_S, 0.1)
        begun = time.monotonic()
        started = began(system, service)
        if how == "restart":
            system.engine.restart(service)
        else:
            system.engine.run("kill", system.engine.container(service))
            wait_for(
                "its end", lambda: not system.engine.running(service) or began(system, service) != started, 60, 0.1
            )
            # A restart policy may have acted, or not: an engine takes a kill by a person for a wish.
            system.engine.run("start", system.engine.container(service))
        wait_for("ready again", lambda: system.ready() and system.engine.running(service), RECOVERS_S)
        assert began(system, service) != started
        before = load.seen["right"]
        wait_for("answers after", lambda: load.seen["right"] >= before + 20, RECOVERS_S, 0.1)
        took = time.monotonic() - begun
    print(f"\n{service} {how}: {took:.1f} s, {dict(load.seen)}")
    return load


def began(system: System, service: str) -> str:
    """When its container was started last."""
    return str(system.engine.inspect(service)["State"]["StartedAt"])


def test_after_all_that_a_job_still_runs(system: System) -> None:
    """The queue, the ledger, the trainer and the rollout have found each other again."""
    wait_for("a trainer", lambda: system.engine.healthy("trainer"), RECOVERS_S)
    wait_for("a job", lambda: "succeeded" in train(system), RECOVERS_S)
    wait_for("neuron", lambda: system.serves("neuron", 1), RECOVERS_S)


def train(system: System) -> str:
    """What the command prints; nothing if the gateway says that Redis does not answer yet."""
    try:
        return system.engine.cli("train", "neuron", "--wait")
    except AssertionError as error:
        if "try again later" in str(error):
            return ""
        raise


def test_secrets_are_found_nowhere(system: System, secret_values: list[str]) -> None:
    """No log line, metric, error or process list has one; nor do the containers' own settings."""
    wrong = {"Authorization": f"Bearer {system.key[:-4]}abcd"}
    bodies = [
        httpx.get(system.url + path, headers=wrong, trust_env=False).text for path in ("/metrics", "/v1/models/x")
    ]
    outputs = {
        "error bodies": "".join(bodies) + system.get("/v1/models/none").text + system.get("/api/jobs/none").text,
        "metrics": system.get("/metrics").text,
        "processes": subprocess.run(["ps", "axww", "-o", "args"], capture_output=True, text=True, check=True).stdout,
    }
    for service in (*ALL, "migrate"):
        outputs[f"log of {service}"] = system.engine.logs(service)
        outputs[f"settings of {service}"] = str(system.engine.inspect(service))
    for where, text in outputs.items():
        for value in (*secret_values, MARK):
            assert value not in text, where


def test_backup_destroy_restore(system: System, tmp_path: Path) -> None:
    """With docs/deploy.md's commands: the same versions answer, the same jobs are listed, the same keys are good."""
    engine = system.engine
    jobs = system.get("/api/jobs").json()["jobs"]
    stable = {model: system.get(f"/api/models/{model}").json()["rollout"]["stable"] for model in INPUTS}
    engine.script("deploy/backup", str(tmp_path))
    engine.destroy()
    engine.script("deploy/restore", str(tmp_path))
    engine.compose("up", "-d")
    for model, version in stable.items():
        wait_for(f"{model} {version}", partial(system.serves, model, version), RECOVERS_S)
    assert_predicts(system)
    assert system.get("/api/jobs").json()["jobs"] == jobs


def test_everything_ends_by_itself_and_in_time(system: System) -> None:
    """Nobody has to be killed, nothing accepted is lost, and the gateway has drained before its server stops."""
    load, begun = Load(system.url, system.key, system.golden), time.monotonic()
    with load.running():
        wait_for("answers before", lambda: load.seen["right"] >= 20, RECOVERS_S, 0.1)
        system.engine.stop(STOPPED_IN_ORDER)
    ended = {service: system.engine.inspect(service)["State"] for service in ALL}
    times = {service: state["FinishedAt"] for service, state in ended.items()}
    print(f"\nstopped in {time.monotonic() - begun:.1f} s, {dict(load.seen)}, at {times}")
    assert set(load.seen) <= {"right", "later", "refused"}, (load.seen, load.examples[:3])
    killed = {service: system.engine.logs(service)[-3000:] for service, state in ended.items() if state["ExitCode"]}
    assert not killed, "\n".join(f"{service}: {log}" for service, log in killed.items())
    assert ended["gateway"]["FinishedAt"] <= ended["modelserver"]["FinishedAt"]
