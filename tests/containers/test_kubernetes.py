"""The overlay `local` of deploy/kubernetes, its pods on Podman: what they do together, and while each is taken away.

In order: the last tests break what the first ones need.
"""

import os
import subprocess
from collections.abc import Iterator
from functools import partial

import httpx
import pytest
import yaml

from tests.containers.conftest import is_ok, is_stable
from tests.support.engine import wait_for
from tests.support.kubernetes import FOLDER, find, render
from tests.support.load import INPUTS, Golden, Load
from tests.support.pods import Cluster, Pod, read_secrets
from tests.support.service import Service

pytestmark = pytest.mark.usefixtures("image_build_s")
FIRST_VERSIONS_S = 1200.0
RECOVERS_S = 300.0
COPIES = {"modelserver": 2, "scheduler": 1, "trainer": 1, "gateway": 2, "operator": 1}
STATEFUL = ("redis", "postgres")
DRAIN_S = 3
ENDED = ("succeeded", "rejected", "failed")
OVERLAY = f"""
resources: [{{overlay}}]
components: [{{components}}/own-modelserver]
patches: # a job that runs does not get its ten minutes here
  - target: {{{{kind: Deployment, name: trainer}}}}
    patch: |-
      - {{{{op: test, path: /spec/template/spec/containers/0/env/0/name, value: MODELYARD_DRAIN_S}}}}
      - {{{{op: replace, path: /spec/template/spec/containers/0/env/0/value, value: "{DRAIN_S}"}}}}
"""


class Kubernetes:
    """The cluster, the service of its gateways, and a key."""

    def __init__(self, cluster: Cluster, service: Service, key: str) -> None:
        self.cluster, self.service, self.key = cluster, service, key
        self.golden = Golden(cluster)

    def get(self, path: str) -> httpx.Response:
        headers = {"Authorization": f"Bearer {self.key}"}
        return httpx.get(self.service.url + path, headers=headers, timeout=10, trust_env=False)

    def serves(self, model: str, version: int) -> bool:
        """On every model server, as the gateway sees it."""
        return is_stable(self.get, model, version)

    def is_ready(self) -> bool:
        return bool(self.service.endpoints) and is_ok(f"{self.service.url}/readyz")

    def cli(self, *arguments: str, check: bool = True) -> str:
        """In the operators' pod."""
        call = ("env", f"MODELYARD_API_KEY={self.key}", "modelyard", *arguments)
        return self.cluster.exec("operator", *call, check=check).decode()

    def load(self) -> Load:
        return Load(self.service.url, self.key, self.golden)


@pytest.fixture(scope="module")
def kubernetes(tmp_path_factory: pytest.TempPathFactory, engine_name: str) -> Iterator[Kubernetes]:
    """From nothing to both models serving, with two gateways and two model servers."""
    if engine_name != "podman":
        pytest.skip("`kube play` is Podman's")
    folder = tmp_path_factory.mktemp("kubernetes")
    folder.chmod(0o755)
    overlay = FOLDER / "overlays" / "local"
    paths = {"overlay": os.path.relpath(overlay, folder), "components": os.path.relpath(FOLDER / "components", folder)}
    (folder / "kustomization.yaml").write_text(OVERLAY.format(**paths))
    printed = subprocess.run([FOLDER / "make-secrets"], capture_output=True, check=True, text=True).stdout
    cluster = Cluster(f"kt{folder.stat().st_ino % 10_000}", render(folder), read_secrets(printed), folder)
    try:
        cluster.prepare()
        for name in STATEFUL:
            cluster.start_ready(name, "StatefulSet")
        cluster.run_job("migrate")
        for name, copies in COPIES.items():
            for _ in range(copies):
                cluster.start(name)
        for pod in list(cluster.pods):
            if pod.workload != "gateway":  # ready once a model is trained
                cluster.wait_ready(pod)
        create = ("modelyard", "keys", "create", "ops", "--role", "admin")
        with Service(cluster, "gateway", 8080).running() as service:
            system = Kubernetes(cluster, service, cluster.exec("operator", *create).decode().strip())
            for model in INPUTS:
                wait_for(f"{model} 1", partial(system.serves, model, 1), FIRST_VERSIONS_S, 2)
            wait_for("both gateways", lambda: len(service.endpoints) == COPIES["gateway"], RECOVERS_S)
            yield system
    finally:
        cluster.destroy()


def test_both_models_predict_as_in_training(kubernetes: Kubernetes) -> None:
    """The golden inputs, through the service; both model servers are asked."""
    with (load := kubernetes.load()).running():
        wait_for("a hundred answers", lambda: sum(load.seen.values()) >= 100, RECOVERS_S, 0.1)
    assert set(load.seen) == {"right"}, (load.seen, load.examples[:3])
    assert set(list_called(kubernetes)) == {f"{pod.address}:8500" for pod in kubernetes.cluster.of("modelserver")}


def list_called(kubernetes: Kubernetes) -> list[str]:
    """Model servers that a gateway knows."""
    lines = kubernetes.get("/metrics").text.splitlines()
    return [line.split('"')[3] for line in lines if line.startswith("modelyard_gateway_replica_calls{")]


@pytest.mark.parametrize("workload", ["gateway", "scheduler", "trainer", "modelserver"])
def test_a_pod_is_as_the_restricted_profile_wants_it(kubernetes: Kubernetes, workload: str) -> None:
    """Not root, no capabilities, no new ones, nothing to write to but its volumes."""
    code = "import pathlib; print(pathlib.Path('/proc/self/status').read_text())"
    status = kubernetes.cluster.exec(workload, "python", "-c", code).decode().split("\n")
    found = {line.split(":")[0]: line.split()[1:2] for line in status if ":" in line}
    assert (found["Uid"], found["CapEff"], found["NoNewPrivs"]) == (["10001"], ["0000000000000000"], ["1"])
    write = "import pathlib; pathlib.Path('/app/x').touch(); print('written')"
    assert kubernetes.cluster.exec(workload, "python", "-c", write, check=False) == b""
    (pod, *_) = kubernetes.cluster.of(workload)
    assert (
        kubernetes.cluster.run("inspect", pod.container, "--format", "{{.HostConfig.ReadonlyRootfs}}").strip()
        == b"true"
    )


def test_a_job_makes_a_version_and_a_rollback_takes_it_back(kubernetes: Kubernetes) -> None:
    """Under load, on both model servers, without one request that is not answered right."""
    with (load := kubernetes.load()).running():
        assert "succeeded" in kubernetes.cli("train", "mnist_cnn", "--set", "seed=7", "--wait")
        wait_for("version 2", lambda: kubernetes.serves("mnist_cnn", 2), RECOVERS_S)
        before = load.seen["right"]
        wait_for("answers of version 2", lambda: load.seen["right"] >= before + 20, RECOVERS_S, 0.1)
        kubernetes.cli("rollback", "mnist_cnn", "--reason", "a test")
        wait_for("version 1", lambda: kubernetes.serves("mnist_cnn", 1), RECOVERS_S)
        before = load.seen["right"]
        wait_for("answers of version 1", lambda: load.seen["right"] >= before + 20, RECOVERS_S, 0.1)
    print(f"\ntrain, roll back: {dict(load.seen)}")
    assert set(load.seen) == {"right"}, (load.seen, load.examples[:3])


@pytest.mark.parametrize("workload", ["gateway", "modelserver", "scheduler", "trainer"])
def test_a_rolling_update_loses_no_request(kubernetes: Kubernetes, workload: str) -> None:
    """Each pod is replaced by a new one: connections that clients keep go over, and every answer is right."""
    with (load := kubernetes.load()).running():
        wait_for("answers before", lambda: load.seen["right"] >= 20, RECOVERS_S, 0.1)
        for pod in kubernetes.cluster.of(workload):
            kubernetes.cluster.replace(pod)
        before = load.seen["right"]
        wait_for("answers after", lambda: load.seen["right"] >= before + 20, RECOVERS_S, 0.1)
    print(f"\nrolling update of {workload}: {dict(load.seen)}")
    assert set(load.seen) == {"right"}, (load.seen, load.examples[:3])


@pytest.mark.parametrize("workload", ["gateway", "modelserver", "scheduler", "trainer", *STATEFUL])
def test_a_pod_that_is_killed_costs_no_wrong_answer(kubernetes: Kubernetes, workload: str) -> None:
    """Another one takes its place; of a gateway the connections that it had are cut off, nothing else is noticed."""
    kind = "StatefulSet" if workload in STATEFUL else "Deployment"
    with (load := kubernetes.load()).running():
        wait_for("answers before", lambda: load.seen["right"] >= 20, RECOVERS_S, 0.1)
        kubernetes.cluster.kill(kubernetes.cluster.of(workload)[0])
        kubernetes.cluster.start_ready(workload, kind)
        wait_for("ready", kubernetes.is_ready, RECOVERS_S)
        before = load.seen["right"]
        wait_for("answers after", lambda: load.seen["right"] >= before + 20, RECOVERS_S, 0.1)
    print(f"\nkill of {workload}: {dict(load.seen)}")
    allowed = {"right", "later"} | ({"refused", "cut off"} if workload == "gateway" else set())
    assert set(load.seen) <= allowed, (load.seen, load.examples[:5])


def test_a_job_whose_trainer_is_taken_away_is_not_lost(kubernetes: Kubernetes) -> None:
    """As when an autoscaler has too many: requeued when its time is over, and ended by another one."""
    kubernetes.cli("train", "mnist_cnn", "--set", "seed=8", "--set", "epochs=8", "--rollout", "manual")
    (trainer,) = kubernetes.cluster.of("trainer")
    wait_for("the training", lambda: job(kubernetes)["state"] == "running", RECOVERS_S)
    assert kubernetes.cluster.end(trainer) == 0
    assert job(kubernetes)["state"] == "queued"
    kubernetes.cluster.start_ready("trainer")
    wait_for("its end", lambda: job(kubernetes)["state"] in ENDED, FIRST_VERSIONS_S, 2)
    assert job(kubernetes)["state"] != "failed"
    assert job(kubernetes)["attempts"] == 2


def job(kubernetes: Kubernetes) -> dict[str, object]:
    """The newest."""
    found: dict[str, object] = kubernetes.get("/api/jobs?limit=1").json()["jobs"][0]
    return found


def test_the_scheduler_says_how_many_trainers_there_should_be(kubernetes: Kubernetes) -> None:
    """On the port that the autoscaler asks, with the token that it has, by the name in the manifest."""
    (pod,) = kubernetes.cluster.of("scheduler")
    token = kubernetes.cluster.secrets["scheduler"]["modelyard_metrics_token"]
    url = f"http://{pod.address}:9090/metrics"
    assert httpx.get(url, trust_env=False).status_code == httpx.codes.UNAUTHORIZED
    answer = httpx.get(url, headers={"Authorization": f"Bearer {token}"}, trust_env=False)
    scaled = find(render(FOLDER / "overlays" / "gke"), "ScaledObject", "trainer")
    (trigger,) = scaled["spec"]["triggers"]
    assert f"{trigger['metadata']['valueLocation']} 0.0" in answer.text.splitlines()


def test_no_secret_is_in_a_log_or_a_manifest(kubernetes: Kubernetes) -> None:
    """Of none of the pods that have run."""
    values = {value for found in kubernetes.cluster.secrets.values() for value in found.values()}
    texts = [kubernetes.cluster.logs(pod) for pod in kubernetes.cluster.pods]
    texts.append(yaml.safe_dump(list(kubernetes.cluster.resources)))
    assert not [value for value in values for text in texts if value in text]


def test_a_pod_ends_by_itself_within_its_time(kubernetes: Kubernetes) -> None:
    """Each, with what it has accepted."""
    ended: dict[str, int] = {}

    def end(pod: Pod) -> None:
        ended[pod.workload] = kubernetes.cluster.end(pod)

    for name in ("scheduler", "trainer", "gateway", "modelserver"):
        end(kubernetes.cluster.of(name)[0])
    assert ended == dict.fromkeys(("scheduler", "trainer", "gateway", "modelserver"), 0)
