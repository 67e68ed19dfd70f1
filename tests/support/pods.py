"""Pods of deploy/kubernetes on Podman (`podman kube play`), with the least of a cluster around them.

What Podman does: the pods as they are rendered, with their users, read-only roots, capabilities, volumes, configuration
and limits. What this does, as kubelet, a replica set and a service would: copies of a template, probes, endpoints,
the end of a pod (out of the endpoints, preStop, SIGTERM, the rest of its time). What is changed for Podman: secrets are
folders, a name of a service is a name of its pods, and a limit of processors is at most what the machine has.
"""

import base64
import json
import os
import subprocess
import time
from collections.abc import Iterable, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

import grpc
import httpx
import yaml
from grpc_health.v1 import health_pb2, health_pb2_grpc

from tests.support.engine import NOISE, wait_for
from tests.support.kubernetes import Resource, find, list_containers

READY_S = 600.0
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
"""An image that sets none gets one from Podman's other commands, but not from this one."""
SERVING = health_pb2.HealthCheckResponse.SERVING


@dataclass(eq=False)
class Pod:
    """One that runs."""

    name: str
    workload: str
    template: Resource
    address: str = ""
    is_ending: bool = False
    """As in Kubernetes: it is told to end, and in no endpoints any more."""

    @property
    def main(self) -> Resource:
        return list_containers(self.template)[0]

    @property
    def container(self) -> str:
        return f"{self.name}-{self.main['name']}"

    @property
    def grace_s(self) -> int:
        return int(self.template["spec"].get("terminationGracePeriodSeconds", 30))

    @property
    def pre_stop_s(self) -> int:
        return int(self.main.get("lifecycle", {}).get("preStop", {}).get("sleep", {}).get("seconds", 0))


@dataclass
class Cluster:
    """All pods of one installation, and its network."""

    name: str
    resources: Sequence[Resource]
    secrets: Mapping[str, Mapping[str, str]]
    folder: Path
    """For secrets and manifests."""
    pods: list[Pod] = field(default_factory=list)
    ended: list[Pod] = field(default_factory=list)
    _numbers: Any = field(default_factory=count)

    def prepare(self) -> None:
        """The network, the volumes, the files of secrets."""
        self.run("network", "create", self.name)
        for name, owner in self._list_claims():
            self.run("volume", "create", "-o", f"o=uid={owner},gid={owner}", f"{self.name}-{name}")
        for name, values in self.secrets.items():
            folder = self.folder / name
            folder.mkdir()
            for key, value in values.items():
                (folder / key).write_text(value)
                (folder / key).chmod(0o444)

    def start(self, workload: str, kind: str = "Deployment") -> Pod:
        """One more pod of a workload."""
        template = deepcopy(find(self.resources, kind, workload)["spec"]["template"])
        pod = Pod(f"{self.name}-{workload}-{next(self._numbers)}", workload, template)
        path = self.folder / f"{pod.name}.yaml"
        path.write_text(yaml.safe_dump_all([*self._list_configs(), self._adapt(pod)]))
        self.run(
            "kube", "play", "--network", f"{self.name}:{','.join(f'alias={each}' for each in aliases(pod))}", str(path)
        )
        infra = json.loads(self.run("pod", "inspect", pod.name))["InfraContainerID"]
        (network,) = json.loads(self.run("inspect", infra))[0]["NetworkSettings"]["Networks"].values()
        pod.address = network["IPAddress"]
        self.pods.append(pod)
        return pod

    def start_ready(self, workload: str, kind: str = "Deployment") -> Pod:
        """One more, which is ready on return."""
        pod = self.start(workload, kind)
        self.wait_ready(pod)
        return pod

    def run_job(self, workload: str) -> None:
        """Until it has ended well."""
        pod = self.start(workload, "Job")

        def has_ended() -> bool:
            state = self.state(pod)
            assert state["Status"] != "exited" or state["ExitCode"] == 0, self.logs(pod)[-2000:]
            return bool(state["Status"] == "exited")

        wait_for(f"job {workload}", has_ended, READY_S)
        self.remove(pod)

    def wait_ready(self, pod: Pod) -> None:
        try:
            wait_for(f"{pod.name} is ready", lambda: self.is_ready(pod), READY_S)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.logs(pod)[-3000:]}") from None

    def is_ready(self, pod: Pod) -> bool:
        """By its readiness probe."""
        probe = pod.main["readinessProbe"]
        if self.state(pod)["Status"] != "running":
            return False
        if "exec" in probe:
            return not self._call("exec", pod.container, *probe["exec"]["command"]).returncode
        if "grpc" in probe:
            return is_serving(f"{pod.address}:{probe['grpc']['port']}")
        ports = {each["name"]: each["containerPort"] for each in pod.main["ports"]}
        if "httpGet" in probe:
            asked = probe["httpGet"]
            return is_ok(f"http://{pod.address}:{ports[asked['port']]}{asked['path']}")
        return not self._call("exec", pod.container, "/usr/bin/redis-cli", "ping").returncode

    def end(self, pod: Pod) -> int:
        """As kubelet does when a pod is deleted; its exit status. It has to end by itself in its time."""
        pod.is_ending = True
        time.sleep(pod.pre_stop_s)  # what `preStop: {sleep: …}` is
        self.run("stop", "-t", str(pod.grace_s - pod.pre_stop_s), pod.container)
        status = int(self.state(pod)["ExitCode"])
        self.remove(pod)
        return status

    def kill(self, pod: Pod) -> None:
        """At once, with all that it is: as when its node is gone."""
        self.run("kill", pod.container)
        pod.is_ending = True
        self.remove(pod)

    def replace(self, pod: Pod, kind: str = "Deployment") -> Pod:
        """A rolling update of one: the new one is ready before the old one ends."""
        new = self.start_ready(pod.workload, kind)
        assert self.end(pod) == 0
        return new

    def remove(self, pod: Pod) -> None:
        self._call("pod", "rm", "-f", "-t", "0", pod.name)
        self.pods.remove(pod)
        self.ended.append(pod)

    def of(self, workload: str) -> list[Pod]:
        return [pod for pod in self.pods if pod.workload == workload and not pod.is_ending]

    def state(self, pod: Pod) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.run("inspect", pod.container))[0]["State"]
        return found

    def logs(self, pod: Pod) -> str:
        done = self._call("logs", pod.container)
        return (done.stdout + done.stderr).decode(errors="replace")

    def exec(self, service: str, *command: str, check: bool = True) -> bytes:
        """What a command in a pod of a workload writes on its standard output."""
        done = self._call("exec", self.of(service)[0].container, *command)
        assert not check or not done.returncode, done.stderr.decode()[-2000:]
        return done.stdout

    def destroy(self) -> None:
        for pod in list(self.pods):
            self.remove(pod)
        for name, _ in self._list_claims():
            self._call("volume", "rm", "-f", f"{self.name}-{name}")
        self._call("network", "rm", "-f", self.name)

    def run(self, *command: str) -> bytes:
        done = self._call(*command)
        assert not done.returncode, f"podman {' '.join(command)[:200]}: {done.stderr.decode()[-2000:]}"
        return done.stdout

    def _call(self, *command: str) -> subprocess.CompletedProcess[bytes]:
        done = subprocess.run(["podman", *command], capture_output=True, timeout=900, check=False)
        said = b"".join(line for line in done.stderr.splitlines(keepends=True) if NOISE.encode() not in line)
        return subprocess.CompletedProcess(done.args, done.returncode, done.stdout, said)

    def _list_claims(self) -> Iterable[tuple[str, int]]:
        """Names of volumes, and whom they belong to: Podman knows no fsGroup."""
        for each in self.resources:
            if each["kind"] == "PersistentVolumeClaim":
                yield each["metadata"]["name"], 10001
            if each["kind"] == "StatefulSet":
                owner = each["spec"]["template"]["spec"]["securityContext"]["fsGroup"]
                yield from ((claim["metadata"]["name"], owner) for claim in each["spec"]["volumeClaimTemplates"])

    def _list_configs(self) -> list[Resource]:
        return [each for each in self.resources if each["kind"] == "ConfigMap"]

    def _adapt(self, pod: Pod) -> Resource:
        """The manifest that Podman gets."""
        spec = deepcopy(pod.template["spec"])
        main = spec["containers"][0]
        main["image"] = image_here(main["image"])
        for name in ("startupProbe", "livenessProbe", "readinessProbe", "lifecycle", "ports"):
            main.pop(name, None)  # done here; and Podman would open ports on the machine itself
        limit = main["resources"]["limits"]
        limit["cpu"] = str(min(float(limit["cpu"]), float(os.cpu_count() or 1)))
        if not main["image"].startswith("localhost/modelyard/"):
            main.setdefault("env", []).append({"name": "PATH", "value": PATH})
        claims = {each["name"] for each in spec["volumes"]}
        for mount in main["volumeMounts"]:
            if mount["name"] not in claims:  # of a stateful set
                spec["volumes"].append({"name": mount["name"], "persistentVolumeClaim": {"claimName": mount["name"]}})
        for volume in spec["volumes"]:
            if "secret" in volume:
                path = self.folder / volume.pop("secret")["secretName"]
                volume["hostPath"] = {"path": str(path), "type": "Directory"}
            elif "persistentVolumeClaim" in volume:
                claim = volume["persistentVolumeClaim"]
                claim["claimName"] = f"{self.name}-{claim['claimName']}"
        labels = pod.template["metadata"]["labels"]
        return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": pod.name, "labels": labels}, "spec": spec}


def aliases(pod: Pod) -> list[str]:
    """Names of the services that a pod is behind."""
    return [pod.workload, *(["gateway-control"] if pod.workload == "gateway" else [])]


def image_here(image: str) -> str:
    """Ours is what was built last; others by their full names."""
    name = image.partition(":")[0]
    return f"localhost/{name}:latest" if name.startswith("modelyard/") else f"docker.io/library/{image}"


def is_serving(address: str) -> bool:
    with grpc.insecure_channel(address) as channel:
        try:
            answer = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=3)
        except grpc.RpcError:
            return False
    return bool(answer.status == SERVING)


def is_ok(url: str) -> bool:
    try:
        return httpx.get(url, timeout=3, trust_env=False).status_code == httpx.codes.OK
    except httpx.HTTPError:
        return False


def read_secrets(printed: str) -> dict[str, dict[str, str]]:
    """Values by name and key, of manifests of secrets."""
    found = {}
    for each in yaml.safe_load_all(printed):
        plain = dict(each.get("stringData", {}))
        plain |= {key: base64.b64decode(value).decode() for key, value in each.get("data", {}).items()}
        found[each["metadata"]["name"]] = plain
    return found
