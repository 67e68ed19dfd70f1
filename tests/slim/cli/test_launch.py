"""One process or two: what `modelyard up` and `modelyard serve` start."""

import shlex
from dataclasses import replace
from pathlib import Path

import pytest

from modelyard.services.cli.gateway import connect
from modelyard.services.cli.processes import launch
from modelyard.services.cli.processes.launch import ModelServerOptions
from modelyard.services.gateway.settings import GatewaySettings
from modelyard.services.modelserver.metrics.monitoring import PATH, read_path

SOCKET = Path("/run/a/serving.sock")


def options(port: int | None = None) -> ModelServerOptions:
    return ModelServerOptions(Path("/a b/models.config"), SOCKET, port)


def test_one_process_has_the_model_server_inside(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the flags of one of its own, read by the gateway as they are."""
    (gateway,) = launch.make_services(connect("http://127.0.0.1:9"), {"A": "1"}, options(), isolated=False)
    assert (gateway.name, gateway.environment["A"]) == ("gateway", "1")
    for name, value in gateway.environment.items():
        monkeypatch.setenv(name, value)
    found = GatewaySettings.load()
    assert found.has_model_server
    assert list(found.serving_flags) == options().flags
    assert "--model_config_file=/a b/models.config" in found.serving_flags
    assert not gateway.ready()


def test_two_processes_meet_on_the_socket() -> None:
    """With the same flags."""
    found = launch.make_services(connect("http://127.0.0.1:9"), {}, options(8500), isolated=True)
    server, gateway = found
    assert [service.name for service in found] == ["modelserver", "gateway"]
    assert gateway.environment["MODELYARD_SERVING"] == f"unix:{SOCKET}"
    assert shlex.join(options(8500).flags) in shlex.join(server.command)
    assert "--port=8500" in server.command


def test_a_model_server_of_its_own_shows_metrics_where_they_are_asked_for(tmp_path: Path) -> None:
    """By TensorFlow Serving's flags, with a file that turns them on; inside the gateway they are the gateway's."""
    client, asked = connect("http://127.0.0.1:9"), replace(options(), socket_path=tmp_path / "s", metrics_port=9093)
    server, _ = launch.make_services(client, {}, asked, isolated=True)
    flags = {flag.partition("=")[0]: flag.partition("=")[2] for flag in server.command}
    assert flags["--rest_api_port"] == "9093"
    assert read_path(Path(flags["--monitoring_config_file"])) == PATH
    (gateway,) = launch.make_services(client, {}, asked, isolated=False)
    assert "monitoring" not in gateway.environment["MODELYARD_SERVING_FLAGS"]


def test_ports_of_metrics_follow_on_the_first(monkeypatch: pytest.MonkeyPatch) -> None:
    """None without a first."""
    monkeypatch.setenv(launch.METRICS_PORT, "9090")
    assert [launch.find_metrics_port(number) for number in (0, 3)] == [9090, 9093]
    for nothing in ("0", "", "all"):
        monkeypatch.setenv(launch.METRICS_PORT, nothing)
        assert launch.find_metrics_port(3) == 0


def test_a_grpc_port_is_opened_on_demand() -> None:
    """Two processes have one by default, as clients of before expect."""
    assert launch.choose_serving_port(None, isolated=False) is None
    assert launch.choose_serving_port(None, isolated=True) == launch.SERVING_PORT
    assert launch.choose_serving_port(9, isolated=False) == launch.choose_serving_port(9, isolated=True) == 9
    assert not any(flag.startswith("--port") for flag in options(None).flags)


def test_one_process_is_the_default_but_where_it_must_not_be(monkeypatch: pytest.MonkeyPatch) -> None:
    """A model's graph never computes beside the secret of keys, unless somebody asks for it."""
    monkeypatch.delenv("MODELYARD_KEY_SECRET", raising=False)
    assert not launch.choose_isolation(None)
    assert launch.choose_isolation(None, gateways=2)
    assert launch.choose_isolation(wanted=True)
    monkeypatch.setenv("MODELYARD_KEY_SECRET", "k" * 64)
    assert launch.choose_isolation(None)
    assert not launch.choose_isolation(wanted=False)
