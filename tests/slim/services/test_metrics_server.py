"""Metrics of processes without HTTP of their own: who may read them, and where they are."""

import socket

import httpx
import pytest
from prometheus_client import CollectorRegistry, Gauge

from modelyard.services.cli.processes.launch import separate_metrics
from modelyard.services.cli.processes.supervisor import Service
from modelyard.services.metrics.server import MetricsPortTaken, serve_metrics
from modelyard.services.scheduler.settings import SchedulerSettings
from modelyard.services.settings import InvalidSettings
from modelyard.services.trainer.settings import TrainerSettings
from tests.support.ports import free_port

TOKEN = "a" * 32


@pytest.fixture
def registry() -> CollectorRegistry:
    found = CollectorRegistry()
    Gauge("modelyard_some", "Something.", registry=found).set(3)
    return found


def test_they_are_shown_on_the_port_of_the_settings(registry: CollectorRegistry) -> None:
    """To whoever is on this machine."""
    port = free_port()
    serve_metrics(SchedulerSettings.load(metrics_port=port), registry)
    assert "modelyard_some 3.0" in httpx.get(f"http://127.0.0.1:{port}/metrics", timeout=60).text


@pytest.mark.parametrize(
    ("given", "status"),
    [(f"Bearer {TOKEN}", 200), ("", 401), ("Bearer wrong", 401), (f"Basic {TOKEN}", 401), (f"Bearer {TOKEN}x", 401)],
)
def test_with_a_token_nobody_else_reads_them(given: str, status: int, registry: CollectorRegistry) -> None:
    """The refusal has nothing of them, and says what is expected."""
    port = free_port()
    serve_metrics(TrainerSettings.load(metrics_port=port, metrics_token=TOKEN), registry)
    headers = {"Authorization": given} if given else {}
    answer = httpx.get(f"http://127.0.0.1:{port}/metrics", headers=headers, timeout=60)
    assert answer.status_code == status
    assert ("modelyard_some" in answer.text) is (status == 200)
    if status == 401:
        assert answer.headers["WWW-Authenticate"] == "Bearer"
        assert "MODELYARD_METRICS_TOKEN" in answer.text


def test_none_are_shown_without_a_port(registry: CollectorRegistry) -> None:
    """As it is by default: nothing listens."""
    settings = SchedulerSettings.load()
    assert settings.metrics_port == 0
    serve_metrics(settings, registry)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.5", "metrics.example.org"])
def test_other_machines_need_a_token(host: str) -> None:
    """The text says so, and how one is made; with one it is taken."""
    with pytest.raises(InvalidSettings, match=r"MODELYARD_METRICS_HOST: .*MODELYARD_METRICS_TOKEN"):
        SchedulerSettings.load(metrics_host=host, metrics_port=9090)
    assert TrainerSettings.load(metrics_host=host, metrics_token=TOKEN).metrics_host == host


def test_a_taken_port_is_reported_with_the_way_out(registry: CollectorRegistry) -> None:
    """Each process of a machine needs one of its own."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        settings = SchedulerSettings.load(metrics_port=taken.getsockname()[1])
        with pytest.raises(MetricsPortTaken, match=r"in use; choose another port with MODELYARD_METRICS_PORT"):
            serve_metrics(settings, registry)


def test_processes_of_one_machine_get_ports_in_a_row(monkeypatch: pytest.MonkeyPatch) -> None:
    """Or none, where none is set."""
    services = [Service(name, [], lambda: True, {"A": "b"}) for name in ("scheduler", "trainer")]
    assert [each.environment for each in separate_metrics(services)] == [{"A": "b"}] * 2
    monkeypatch.setenv("MODELYARD_METRICS_PORT", "9090")
    ports = [each.environment["MODELYARD_METRICS_PORT"] for each in separate_metrics(services)]
    assert ports == ["9090", "9091"]
