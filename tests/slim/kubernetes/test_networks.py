"""Who may connect to whom, as the network policies of each overlay say."""

from typing import Any

import pytest

from tests.support.kubernetes import OVERLAYS, Resource, list_pods, render_overlay

PORTS = {
    "gateway": 8080,
    "modelserver": 8500,
    "modelserver-gpu": 8500,
    "redis": 6379,
    "postgres": 5432,
    "scheduler": 9090,
    "trainer": 9090,
}
ALLOWED = {
    ("gateway", "modelserver"),
    ("gateway", "redis"),
    ("gateway", "postgres"),
    ("scheduler", "modelserver"),
    ("scheduler", "redis"),
    ("scheduler", "postgres"),
    ("trainer", "modelserver"),
    ("trainer", "redis"),
    ("trainer", "postgres"),
    ("trainer-gpu", "modelserver"),
    ("trainer-gpu", "redis"),
    *((one, "modelserver-gpu") for one in ("gateway", "scheduler", "trainer")),
    ("operator", "gateway"),
    ("operator", "redis"),
    ("operator", "postgres"),
    ("migrate", "postgres"),
}


def matches(selector: Resource, labels: dict[str, str]) -> bool:
    for each in selector.get("matchExpressions", ()):
        assert each["operator"] == "In"
        if labels.get(each["key"]) not in each["values"]:
            return False
    return selector.get("matchLabels", {}).items() <= labels.items()


def is_open(policies: list[Resource], direction: str, one: dict[str, str], other: dict[str, str], port: int) -> bool:
    """Whether policies for a pod let through what comes from, or goes to, another pod of the same namespace."""
    side = {"Ingress": "from", "Egress": "to"}[direction]
    for policy in policies:
        spec = policy["spec"]
        if direction in spec["policyTypes"] and matches(spec["podSelector"], one):
            for rule in spec.get(direction.lower(), ()):
                ports = {each["port"] for each in rule["ports"]}
                if port in ports and any(is_peer(peer, other) for peer in rule[side]):
                    return True
    return False


def is_peer(peer: Resource, labels: dict[str, str]) -> bool:
    """A pod of our namespace; addresses are those of others."""
    if "podSelector" not in peer:
        return False
    elsewhere = peer.get("namespaceSelector", {}).get("matchLabels", {}).get("kubernetes.io/metadata.name", "modelyard")
    return elsewhere == "modelyard" and matches(peer["podSelector"], labels)


def read(overlay: str) -> tuple[list[Resource], dict[str, dict[str, str]]]:
    resources = render_overlay(overlay)
    policies = [each for each in resources if each["kind"] == "NetworkPolicy"]
    return policies, {name: pod["metadata"]["labels"] for name, pod in list_pods(resources)}


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_pods_reach_what_they_need_and_nothing_else(overlay: str) -> None:
    """Both ends have to allow it. PostgreSQL in the cluster is only in one overlay."""
    policies, labels = read(overlay)
    found = {
        (one, other)
        for one in labels
        for other, port in PORTS.items()
        if other in labels
        and is_open(policies, "Egress", labels[one], labels[other], port)
        and is_open(policies, "Ingress", labels[other], labels[one], port)
    }
    assert found == {(one, other) for one, other in ALLOWED if one in labels and other in labels}


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_all_is_denied_first(overlay: str) -> None:
    """In both directions, of every pod."""
    policies, _ = read(overlay)
    assert [each["spec"] for each in policies if each["metadata"]["name"] == "default-deny"] == [
        {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
    ]


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_nothing_leads_out_but_names_and_the_ledger(overlay: str) -> None:
    """The trainer runs the code of models: no address outside the cluster's own networks can be reached."""
    policies, _ = read(overlay)
    blocks: dict[str, Any] = {
        each["metadata"]["name"]: [peer["ipBlock"]["cidr"] for peer in rule["to"] if "ipBlock" in peer]
        for each in policies
        for rule in each["spec"].get("egress", ())
    }
    outside = {name: found for name, found in blocks.items() if found}
    assert outside.pop("names") == ["169.254.20.10/32"]
    private = ["10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16"]
    assert outside == ({} if overlay == "local" else {"to-ledger": private})


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_prometheus_reaches_every_process_that_has_metrics(overlay: str) -> None:
    """Those of GPUs, too."""
    policies, labels = read(overlay)
    (policy,) = (each["spec"] for each in policies if each["metadata"]["name"] == "metrics")
    watched = {name for name in labels if name.partition("-")[0] in ("gateway", "scheduler", "trainer", "modelserver")}
    assert {name for name in labels if matches(policy["podSelector"], labels[name])} == watched


def test_the_rest_port_of_tensorflow_serving_is_for_monitoring_alone() -> None:
    """It answers garbage to who predicts there."""
    policies, _ = read("gke")
    opening = [
        each["metadata"]["name"]
        for each in policies
        for rule in each["spec"].get("ingress", ())
        if 8501 in {port["port"] for port in rule["ports"]}
    ]
    assert opening == ["metrics"]
