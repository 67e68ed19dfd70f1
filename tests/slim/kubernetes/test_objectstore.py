"""The component that keeps the model store in a bucket, on the overlay with every kind of pod."""

import os
import re
from pathlib import Path

import kubernetes_validate
import pytest
import yaml

from modelyard.services.sync.settings import SyncSettings
from tests.slim.kubernetes.test_overlays import require_restricted, require_secrets
from tests.support.kubernetes import FOLDER, WORKLOADS, Resource, find, list_containers, list_pods, render
from tests.support.repository import ROOT

FOLLOWERS = {"gateway", "scheduler", "operator", "modelserver", "trainer"}
WRITERS = FOLLOWERS - {"modelserver"} | {"migrate"}
URL = "s3://models/production"


def add_bucket(folder: Path, overlay: str) -> tuple[Resource, ...]:
    """As docs/deploy.md has it."""
    places = (f"overlays/{overlay}", "components/objectstore", "components/objectstore-keys")
    base, *components = (os.path.relpath(FOLDER / name, folder) for name in places)
    settings = {
        "name": "settings",
        "namespace": "modelyard",
        "behavior": "merge",
        "literals": [f"MODELYARD_STORE_URL={URL}"],
    }
    own = {"resources": [base], "components": components, "configMapGenerator": [settings]}
    (folder / "kustomization.yaml").write_text(yaml.safe_dump(own))
    return render(folder)


@pytest.fixture(scope="module", params=("gpu", "pools"))
def resources(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Resource, ...]:
    return add_bucket(tmp_path_factory.mktemp("bucket"), request.param)


def find_sync(pod: Resource) -> Resource:
    (found,) = (each for each in pod["spec"]["initContainers"] if each["name"] == "sync")
    return dict(found)


def test_each_resource_is_as_kubernetes_defines_it(resources: tuple[Resource, ...]) -> None:
    """By its schemas, and by the restricted profile; what the component does not touch is checked as it is."""
    for each in resources:
        if each["kind"] in (*WORKLOADS, "ServiceAccount", "NetworkPolicy"):
            kubernetes_validate.validate(each, kubernetes_validate.latest_version(), strict=True)
    for _, pod in list_pods(resources):
        require_restricted(pod)


def test_no_volume_is_shared_and_every_folder_is_followed(resources: tuple[Resource, ...]) -> None:
    """Before the other containers start, and while they run; a trainer's checkpoints stay shared."""
    claims = {each["metadata"]["name"] for each in resources if each["kind"] == "PersistentVolumeClaim"}
    assert claims == {"work"}
    for name, pod in list_pods(resources):
        volumes = {each["name"]: each for each in pod["spec"]["volumes"]}
        if name.removesuffix("-gpu") in FOLLOWERS:
            sync = find_sync(pod)
            assert sync["restartPolicy"] == "Always"
            assert {"startupProbe", "livenessProbe"} <= sync.keys()
            assert {"name": "store", "mountPath": "/store"} in sync["volumeMounts"]
        if "store" in volumes:
            assert "emptyDir" in volumes["store"], name


def test_images_have_the_releases_tag(resources: tuple[Resource, ...]) -> None:
    """A patch has none of its own."""
    release = re.search(r'^version = "(.*)"', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
    assert release
    ours = {each["image"] for _, pod in list_pods(resources) for each in list_containers(pod)}
    assert {image.partition(":")[2] for image in ours if image.startswith("modelyard/")} == {release[1]}


def test_settings_and_secrets_are_where_they_are_needed(resources: tuple[Resource, ...]) -> None:
    """The URL is in the settings of all; a model server's pod can only read the bucket."""
    settings = {each["metadata"]["name"]: each["data"] for each in resources if each["kind"] == "ConfigMap"}
    known = {f"MODELYARD_{name.upper()}" for name in SyncSettings.model_fields}
    for name, pod in list_pods(resources):
        require_secrets(pod)
        wanted = name.removesuffix("-gpu")
        if wanted not in FOLLOWERS | WRITERS:
            assert "modelyard/objectstore" not in pod["metadata"]["labels"]
            continue
        assert pod["metadata"]["labels"]["modelyard/objectstore"] == "yes"
        assert pod["spec"]["serviceAccountName"] == ("store-writer" if wanted in WRITERS else "store-reader")
        secrets = {
            each["secretRef"]["name"]
            for container in list_containers(pod)
            for each in container.get("envFrom", ())
            if "secretRef" in each
        }
        assert secrets == {"objectstore-writer" if wanted in WRITERS else "objectstore-reader"}
        if wanted in FOLLOWERS:
            sync = find_sync(pod)
            (config,) = (each["configMapRef"]["name"] for each in sync["envFrom"] if "configMapRef" in each)
            assert settings[config]["MODELYARD_STORE_URL"] == URL
            assert {each["name"] for each in sync["env"]} <= known
            (secret,) = (each["secret"] for each in pod["spec"]["volumes"] if each["name"] == "sync-secrets")
            assert secret["secretName"] == "sync"
            served_only = [each["name"] for each in sync["env"] if each["value"] == "true"]
            assert served_only == (["MODELYARD_SYNC_SERVED_ONLY"] if wanted == "modelserver" else [])


def test_its_metrics_are_for_monitoring_alone(resources: tuple[Resource, ...]) -> None:
    """On a port that no other container of the pod has, behind its token: every follower, and nobody else."""
    policy = find(resources, "NetworkPolicy", "sync-metrics")["spec"]
    (rule,) = policy["ingress"]
    for name, pod in list_pods(resources):
        if name.removesuffix("-gpu") not in FOLLOWERS:
            continue
        assert policy["podSelector"]["matchLabels"].items() <= pod["metadata"]["labels"].items()
        ports = [each["containerPort"] for container in list_containers(pod) for each in container.get("ports", ())]
        assert len(set(ports)) == len(ports)
        (port,) = find_sync(pod)["ports"]
        assert rule["ports"] == [{"protocol": "TCP", "port": port["containerPort"]}]
        assert {"name": "MODELYARD_METRICS_PORT", "value": str(port["containerPort"])} in find_sync(pod)["env"]
    assert rule["from"] == [
        {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "monitoring"}}},
    ]


def test_only_who_needs_the_bucket_gets_out_and_over_tls_alone(resources: tuple[Resource, ...]) -> None:
    """Not into the cluster's own networks, nor to the node's metadata."""
    policy = find(resources, "NetworkPolicy", "to-objectstore")["spec"]
    assert policy["podSelector"] == {"matchLabels": {"modelyard/objectstore": "yes"}}
    (rule,) = policy["egress"]
    assert rule["ports"] == [{"protocol": "TCP", "port": 443}]
    assert "169.254.0.0/16" in rule["to"][0]["ipBlock"]["except"]
