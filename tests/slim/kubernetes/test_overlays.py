"""Every overlay: by Kubernetes' schemas, by the restricted profile, and by what our processes need."""

import os
import re
from pathlib import Path

import kubernetes_validate
import pytest
import yaml

from modelyard.services.gateway import lifecycle
from modelyard.services.gateway.settings import GatewaySettings
from modelyard.services.trainer.settings import TrainerSettings
from tests.slim.repository.test_compose import SERVING, read
from tests.support.kubernetes import (
    FOLDER,
    OVERLAYS,
    Resource,
    find,
    list_containers,
    list_pods,
    render,
    render_overlay,
)
from tests.support.repository import ROOT

OTHERS = ("keda.sh/v1alpha1", "cloud.google.com/v1")
"""Kinds that clusters learn from others: Kubernetes has no schema of them."""
VOLUMES = {"name", "persistentVolumeClaim", "secret", "configMap", "emptyDir"}
EXPECTED_OTHERS = {"local": (), "gpu": OTHERS[:1], "pools": OTHERS[:1], "gke": OTHERS, "eks": OTHERS[:1]}
EMBEDDED = ROOT / "deploy" / "compose.embedded.yml"
on_overlays = pytest.mark.parametrize("overlay", OVERLAYS)


@on_overlays
def test_each_resource_is_as_kubernetes_defines_it(overlay: str) -> None:
    """By the schemas of its newest release, with no field that they do not know."""
    resources = render_overlay(overlay)
    for each in resources:
        if each["apiVersion"] not in OTHERS:
            kubernetes_validate.validate(each, kubernetes_validate.latest_version(), strict=True)
    assert {each["apiVersion"] for each in resources} & set(OTHERS) == set(EXPECTED_OTHERS[overlay])


@on_overlays
def test_everything_is_in_one_namespace_and_has_one_name(overlay: str) -> None:
    """But for what has none."""
    seen = [(each["kind"], each["metadata"]["name"]) for each in render_overlay(overlay)]
    assert len(seen) == len(set(seen))
    for each in render_overlay(overlay):
        if each["kind"] not in ("Namespace", "StorageClass"):
            assert each["metadata"]["namespace"] == "modelyard", each["metadata"]["name"]


@on_overlays
def test_pods_keep_to_the_restricted_profile(overlay: str) -> None:
    """Pod Security Standards, restricted; and more: nothing to write to but its volumes, no token of the cluster."""
    for _, pod in list_pods(render_overlay(overlay)):
        require_restricted(pod)


def require_restricted(pod: Resource) -> None:
    spec = pod["spec"]
    assert spec["securityContext"]["runAsNonRoot"] is True
    assert spec["securityContext"]["runAsUser"] > 0
    assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert spec["automountServiceAccountToken"] is False
    assert not {"hostNetwork", "hostPID", "hostIPC"} & spec.keys()
    assert all(volume.keys() <= VOLUMES for volume in spec["volumes"])
    for container in list_containers(pod):
        context = container["securityContext"]
        assert context["allowPrivilegeEscalation"] is False
        assert context["readOnlyRootFilesystem"] is True
        assert context["capabilities"] == {"drop": ["ALL"]}


@on_overlays
def test_containers_have_limits_and_probes(overlay: str) -> None:
    """Requests of processor and memory, a limit of what it may write; a job needs no probes."""
    for name, container in list_all(overlay):
        for kind in ("requests", "limits"):
            assert {"cpu", "memory", "ephemeral-storage"} <= container["resources"][kind].keys()
        if name != "migrate":
            assert {"startupProbe", "livenessProbe", "readinessProbe"} <= container.keys()


def list_all(overlay: str) -> list[tuple[str, Resource]]:
    """Containers, with the names of their workloads."""
    return [(name, each) for name, pod in list_pods(render_overlay(overlay)) for each in list_containers(pod)]


@on_overlays
def test_images_have_tags_that_say_which_they_are(overlay: str) -> None:
    """That of our own is the release's."""
    release = re.search(r'^version = "(.*)"', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
    assert release
    for _, container in list_all(overlay):
        image, _, tag = container["image"].partition(":")
        assert tag not in ("", "latest")
        assert not image.startswith("modelyard/") or tag == release[1]


@on_overlays
def test_a_gateway_has_the_time_that_its_end_takes(overlay: str) -> None:
    """preStop, not ready, what is connected, what is in flight, keys: each at its longest."""
    pod = find(render_overlay(overlay), "Deployment", "gateway")["spec"]["template"]
    (gateway,) = pod["spec"]["containers"]
    wait_s = next(int(each["value"]) for each in gateway["env"] if each["name"] == "MODELYARD_DRAIN_WAIT_S")
    pre_stop_s = gateway["lifecycle"]["preStop"]["sleep"]["seconds"]
    longest_s = pre_stop_s + wait_s + 2 * lifecycle.DRAIN_S + lifecycle.CLOSE_S
    assert longest_s < pod["spec"]["terminationGracePeriodSeconds"] <= longest_s + 10
    probe = gateway["readinessProbe"]
    assert wait_s >= probe["periodSeconds"] * probe["failureThreshold"]  # it is seen that it is not ready


@on_overlays
def test_a_trainer_has_the_time_that_its_end_takes(overlay: str) -> None:
    """What its job gets, and what requeueing it takes."""
    resources = render_overlay(overlay)
    for each in resources:
        if each["kind"] == "Deployment" and each["metadata"]["name"].startswith("trainer"):
            spec = each["spec"]["template"]["spec"]
            (drain_s,) = (int(v["value"]) for v in spec["containers"][0]["env"] if v["name"] == "MODELYARD_DRAIN_S")
            assert drain_s + 30 <= spec["terminationGracePeriodSeconds"]


@on_overlays
def test_a_model_server_ends_after_gateways_have_turned_away(overlay: str) -> None:
    """Names are cached for 30 s in clusters, and asked for every 2 s by gateways."""
    pod = find(render_overlay(overlay), "Deployment", "modelserver")["spec"]["template"]["spec"]
    assert pod["containers"][0]["lifecycle"]["preStop"]["sleep"]["seconds"] >= 32
    assert pod["shareProcessNamespace"] is True  # else SIGTERM is lost on it


def test_our_model_server_takes_the_other_ones_place(tmp_path: Path) -> None:
    """With time to drain, and a probe that it answers."""
    names = ("overlays/local", "components/own-modelserver")
    overlay, component = (os.path.relpath(FOLDER / name, tmp_path) for name in names)
    (tmp_path / "kustomization.yaml").write_text(yaml.safe_dump({"resources": [overlay], "components": [component]}))
    deployment = find(render(tmp_path), "Deployment", "modelserver")
    kubernetes_validate.validate(deployment, kubernetes_validate.latest_version(), strict=True)
    pod = deployment["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    (compose,) = (each["command"] for each in yaml.safe_load(EMBEDDED.read_text())["services"].values())
    assert container["command"] == compose[:3]
    assert set(container["args"]) == {*compose[3:], "--enable_grpc_healthcheck_service=true"}
    assert container["livenessProbe"]["grpc"] == {"port": 8500}
    assert {each["name"]: each["containerPort"] for each in container["ports"]} == {"grpc": 8500, "rest": 8501}
    (drain_s,) = (int(flag.partition("=")[2]) for flag in compose if flag.startswith("--drain_timeout_seconds="))
    pre_stop_s = container["lifecycle"]["preStop"]["sleep"]["seconds"]
    assert pre_stop_s + drain_s + 5 <= pod["terminationGracePeriodSeconds"]


@on_overlays
def test_tensorflow_serving_is_started_as_by_compose(overlay: str) -> None:
    """Each flag has its reason there."""
    (container,) = find(render_overlay(overlay), "Deployment", "modelserver")["spec"]["template"]["spec"]["containers"]
    service = read(SERVING)["services"]["modelserver"]
    assert container["args"] == service["command"]
    assert container["command"] == service["entrypoint"]
    assert container["image"].removesuffix("-gpu") == service["image"]


@on_overlays
def test_settings_are_known(overlay: str) -> None:
    """A variable that no process reads would be a spelling mistake."""
    known = {f"MODELYARD_{name.upper()}" for name in GatewaySettings.model_fields | TrainerSettings.model_fields}
    for page in ("settings.md", "cli.md"):
        known |= set(re.findall(r"MODELYARD_[A-Z_]+", (ROOT / "docs" / page).read_text()))
    for each in render_overlay(overlay):
        if each["kind"] == "ConfigMap":
            assert {name for name in each["data"] if name.startswith("MODELYARD_")} <= known
    for _, pod in list_pods(render_overlay(overlay)):
        for container in list_containers(pod):
            names = {each["name"] for each in container.get("env", ())}
            assert {name for name in names if name.startswith("MODELYARD_")} <= known


@on_overlays
def test_what_pods_refer_to_is_there(overlay: str) -> None:
    """Configuration by its hash, claims, and secrets of which `make-secrets` is the list."""
    resources = render_overlay(overlay)
    there = {(each["kind"], each["metadata"]["name"]) for each in resources}
    secrets = set(re.findall(r"secret ([a-z]+)", (FOLDER / "make-secrets").read_text()))
    for name, pod in list_pods(resources):
        for container in list_containers(pod):
            for each in container.get("envFrom", ()):
                assert ("ConfigMap", each["configMapRef"]["name"]) in there
                assert re.search(r"-[a-z0-9]{10}$", each["configMapRef"]["name"])
            mounted = {each["name"] for each in container["volumeMounts"]}
            own = {claim["metadata"]["name"] for claim in list_claims(resources, name)}
            assert mounted == {each["name"] for each in pod["spec"]["volumes"]} | own
        for volume in pod["spec"]["volumes"]:
            if "configMap" in volume:
                assert ("ConfigMap", volume["configMap"]["name"]) in there
            elif "persistentVolumeClaim" in volume:
                assert ("PersistentVolumeClaim", volume["persistentVolumeClaim"]["claimName"]) in there
            elif "secret" in volume:
                assert volume["secret"]["secretName"] in secrets


def list_claims(resources: tuple[Resource, ...], name: str) -> list[Resource]:
    return [
        claim
        for each in resources
        if (each["kind"], each["metadata"]["name"]) == ("StatefulSet", name)
        for claim in each["spec"]["volumeClaimTemplates"]
    ]


@on_overlays
def test_who_has_which_secret(overlay: str) -> None:
    """The trainer runs the code of models: it finds no key, nor the secret of keys; the model server finds nothing."""
    mounted = {
        name: {volume["secret"]["secretName"] for volume in pod["spec"]["volumes"] if "secret" in volume}
        for name, pod in list_pods(render_overlay(overlay))
    }
    assert mounted["trainer"] == {"trainer"}
    assert mounted["scheduler"] == {"scheduler"}
    assert mounted["modelserver"] == set()
    assert [name for name, found in mounted.items() if "gateway" in found] == ["gateway", "operator"]
    assert [name for name, found in mounted.items() if "migrate" in found] == ["migrate"]


def require_secrets(pod: Resource) -> None:
    """Whoever is told of a folder of secrets has one there: without it no process starts."""
    for container in list_containers(pod):
        told = [each["configMapRef"]["name"] for each in container.get("envFrom", ()) if "configMapRef" in each]
        if any(name.startswith("settings-") for name in told):
            folders = {each["mountPath"]: each["name"] for each in container["volumeMounts"]}
            assert folders.get("/etc/modelyard/secrets") in {
                volume["name"] for volume in pod["spec"]["volumes"] if "secret" in volume
            }, container["name"]


@on_overlays
def test_who_reads_the_settings_has_the_folder_of_secrets_that_they_name(overlay: str) -> None:
    for _, pod in list_pods(render_overlay(overlay)):
        require_secrets(pod)


@on_overlays
def test_an_update_takes_none_away_before_another_is_ready(overlay: str) -> None:
    """And drains of nodes take one at a time."""
    resources = render_overlay(overlay)
    budgets = {each["metadata"]["name"]: each["spec"] for each in resources if each["kind"] == "PodDisruptionBudget"}
    for each in resources:
        if each["kind"] == "Deployment" and (name := each["metadata"]["name"]) != "operator":
            assert each["spec"]["strategy"]["rollingUpdate"] == {"maxSurge": 1, "maxUnavailable": 0}
            if name != "scheduler":
                assert budgets[name]["maxUnavailable"] == 1
                assert budgets[name]["selector"] == each["spec"]["selector"]


@on_overlays
def test_replicas_are_set_by_one_only(overlay: str) -> None:
    """Where an autoscaler sets them, no manifest does: applying it again would undo what that decided."""
    resources = render_overlay(overlay)
    scaled = {
        each["spec"]["scaleTargetRef"]["name"]
        for each in resources
        if each["kind"] in ("HorizontalPodAutoscaler", "ScaledObject")
    }
    deployments = [each for each in resources if each["kind"] == "Deployment"]
    fixed = {each["metadata"]["name"] for each in deployments if "replicas" in each["spec"]}
    assert not scaled & fixed
    assert {"gateway", "modelserver", "trainer"} <= scaled | fixed
