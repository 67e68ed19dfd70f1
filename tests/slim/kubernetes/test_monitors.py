"""What the Prometheus operator is told to scrape: ports and tokens that are there, jobs that rules know."""

import os
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.slim.kubernetes.test_networks import matches
from tests.support.kubernetes import FOLDER, Resource, list_containers, list_pods, render
from tests.support.repository import ROOT

JOB = re.compile(r'job="(\w+)"')


@pytest.fixture(scope="module")
def resources(tmp_path_factory: pytest.TempPathFactory) -> tuple[Resource, ...]:
    """With a bucket, on the overlay that has every kind of pod."""
    return render_watched(tmp_path_factory.mktemp("monitors"), "overlays/gpu", "components/objectstore")


def render_watched(folder: Path, *names: str) -> tuple[Resource, ...]:
    """An overlay with components, and what Prometheus is told of it."""
    base, *components = (os.path.relpath(FOLDER / name, folder) for name in (*names, "components/monitors"))
    (folder / "kustomization.yaml").write_text(yaml.safe_dump({"resources": [base], "components": components}))
    return render(folder)


def list_monitors(resources: tuple[Resource, ...]) -> list[tuple[str, Resource, dict[str, Any]]]:
    """Name, selector and the one endpoint of each."""
    return [
        (each["metadata"]["name"], each["spec"]["selector"], *each["spec"]["podMetricsEndpoints"])
        for each in resources
        if each["kind"] == "PodMonitor"
    ]


def test_each_monitor_finds_pods_with_its_port(resources: tuple[Resource, ...]) -> None:
    """And no pod that it chooses is without it."""
    for name, selector, endpoint in list_monitors(resources):
        chosen = [pod for _, pod in list_pods(resources) if matches(selector, pod["metadata"]["labels"])]
        if name == "sync":  # a job has the label of the bucket's network policy, and no folder to follow
            chosen = [pod for pod in chosen if "initContainers" in pod["spec"]]
        assert chosen, name
        for pod in chosen:
            ports = {each["name"] for container in list_containers(pod) for each in container.get("ports", ())}
            assert endpoint["port"] in ports, name


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (("overlays/pools",), {"modelserver", "modelserver-gpu"}),
        (("overlays/local", "components/own-modelserver"), {"modelserver"}),
    ],
)
def test_model_servers_of_each_pool_are_scraped(names: tuple[str, ...], expected: set[str], tmp_path: Path) -> None:
    """As one job, TensorFlow Serving or ours: dashboards show all of them."""
    resources = render_watched(tmp_path, *names)
    ((_, selector, endpoint),) = (each for each in list_monitors(resources) if each[0] == "modelserver")
    pods = {pod["metadata"]["labels"]["app.kubernetes.io/name"]: pod for _, pod in list_pods(resources)}
    chosen = {name: pod for name, pod in pods.items() if matches(selector, pod["metadata"]["labels"])}
    assert set(chosen) == expected
    for pod in chosen.values():
        (container,) = list_containers(pod)
        assert endpoint["port"] in {each["name"] for each in container["ports"]}
        assert "--monitoring_config_file=/etc/modelyard/monitoring.txt" in container["args"]


def test_each_sends_the_token_that_the_process_has(resources: tuple[Resource, ...]) -> None:
    """Out of secrets that `make-secrets` makes; the gateway's is a viewer's key, made by hand."""
    made = dict(re.findall(r"secret ([a-z]+) (.*)", (FOLDER / "make-secrets").read_text()))
    for name, _, endpoint in list_monitors(resources):
        if name == "modelserver":
            assert "authorization" not in endpoint
            continue
        secret = endpoint["authorization"]["credentials"]
        if name == "gateway":
            assert secret == {"name": "prometheus", "key": "modelyard_viewer_key"}
        else:
            assert secret["name"] == name
            assert secret["key"] in made[name]


def test_jobs_have_the_names_that_alerts_and_dashboards_know(resources: tuple[Resource, ...]) -> None:
    """By the pods' own label, or by a rule."""
    known = {each["metadata"]["name"]: each["spec"] for each in resources if each["kind"] == "PodMonitor"}
    jobs = set()
    for name, spec in known.items():
        (endpoint,) = spec["podMetricsEndpoints"]
        renamed = [each["replacement"] for each in endpoint.get("relabelings", ()) if each["targetLabel"] == "job"]
        assert renamed == [name] or spec["jobLabel"] == "app.kubernetes.io/name"
        jobs.add(name)
    rules = (ROOT / "deploy/prometheus/alerts.yml").read_text()
    scraped = yaml.safe_load((ROOT / "deploy/prometheus/prometheus.yml").read_text())["scrape_configs"]
    assert {each["job_name"] for each in scraped} | set(JOB.findall(rules)) == jobs


def test_prometheus_may_reach_each(resources: tuple[Resource, ...]) -> None:
    """By a network policy that lets the namespace `monitoring` in."""
    numbers = {
        each["name"]: each["containerPort"]
        for _, pod in list_pods(resources)
        for container in list_containers(pod)
        for each in container.get("ports", ())
    }
    policies = [each["spec"] for each in resources if each["kind"] == "NetworkPolicy"]
    for name, selector, endpoint in list_monitors(resources):
        for _, pod in list_pods(resources):
            labels = pod["metadata"]["labels"]
            if matches(selector, labels):
                assert any(
                    {"protocol": "TCP", "port": numbers[endpoint["port"]]} in rule["ports"]
                    for policy in policies
                    if matches(policy["podSelector"], labels)
                    for rule in policy.get("ingress", ())
                    if "monitoring" in str(rule.get("from"))
                ), name
