"""What is counted of calls to the model server."""

import re

import grpc
import pytest
from flask.testing import FlaskClient
from prometheus_client import CollectorRegistry, Histogram, generate_latest

from modelyard.services.gateway.metrics import LoopHistogram
from tests.support.fakes import HALF_PLUS, FakeModelServer

PREDICT = f"/v1/models/{HALF_PLUS}:predict"


def read(client: FlaskClient, name: str, label: str = "") -> dict[str, float]:
    """Values of a metric by a label."""
    lines = re.findall(rf"^{name}(?:{{(.*)}})? (\S+)$", client.get("/metrics").text, re.MULTILINE)
    return {dict(re.findall(r'(\w+)="([^"]*)"', labels)).get(label, ""): float(value) for labels, value in lines}


def test_rows_and_time_of_a_call_are_counted_by_model(client: FlaskClient) -> None:
    """Three rows in one call: not more than four."""
    assert client.post(PREDICT, json={"instances": [[1.0], [2.0], [3.0]]}).status_code == 200
    rows = read(client, "modelyard_gateway_call_rows_bucket", "le")
    assert (rows["2.0"], rows["4.0"], rows["+Inf"]) == (0, 1, 1)
    assert read(client, "modelyard_gateway_call_rows_sum", "model") == {HALF_PLUS: 3}
    assert read(client, "modelyard_gateway_call_seconds_count", "model") == {HALF_PLUS: 1}
    assert 0 < read(client, "modelyard_gateway_call_seconds_sum", "model")[HALF_PLUS] < 30
    assert read(client, "modelyard_gateway_waiting_requests") == {"": 0}


def test_failed_calls_are_counted_and_a_server_that_is_away_is_named(
    client: FlaskClient, server: FakeModelServer
) -> None:
    """A bad request says nothing about the server's reach; it is reached again with the next call that does."""
    server.fail_next(grpc.StatusCode.INVALID_ARGUMENT)
    client.post(PREDICT, json={"instances": [[1.0]]})
    assert read(client, "modelyard_gateway_call_errors_total", "model") == {HALF_PLUS: 1}
    assert read(client, "modelyard_gateway_replica_reachable", "replica") == {server.address: 1}
    server.fail_next(grpc.StatusCode.UNAVAILABLE, times=2)
    client.post(PREDICT, json={"instances": [[1.0]]})
    assert read(client, "modelyard_gateway_replica_reachable", "replica") == {server.address: 0}
    client.post(PREDICT, json={"instances": [[1.0]]})
    assert read(client, "modelyard_gateway_replica_reachable", "replica") == {server.address: 1}
    assert read(client, "modelyard_gateway_replica_calls", "replica") == {server.address: 0}
    assert read(client, "modelyard_gateway_call_errors_total", "model") == {HALF_PLUS: 2}


def test_requests_to_a_version_are_counted_by_outcome(client: FlaskClient, server: FakeModelServer) -> None:
    """From 0, each of them; only answers have a time."""
    client.post(PREDICT, json={"instances": [[1.0]]})
    client.post(PREDICT, json={"instances": [["x"]]})
    server.fail_next(grpc.StatusCode.INTERNAL)
    client.post(PREDICT, json={"instances": [[1.0]]})
    outcomes = read(client, "modelyard_gateway_version_requests_total", "outcome")
    assert outcomes == {"answered": 1, "failed": 1, "refused": 1}
    assert set(read(client, "modelyard_gateway_version_requests_total", "version")) == {"2"}
    assert read(client, "modelyard_gateway_version_request_seconds_count", "model") == {HALF_PLUS: 1}
    assert 0 < read(client, "modelyard_gateway_version_request_seconds_sum", "model")[HALF_PLUS] < 30
    assert read(client, "modelyard_gateway_version_request_seconds_bucket", "le")["+Inf"] == 1


def test_what_alerts_count_is_counted_from_0(client: FlaskClient) -> None:
    """A series that appears with its first ones has not grown, for Prometheus."""
    found = read(client, "modelyard_gateway_refused_keys_total", "reason")
    assert set(found.values()) == {0}
    assert {"none", "unknown", "wrong", "expired", "revoked", "malformed"} <= set(found)


@pytest.mark.parametrize("values", [[0.1, 1, 1.0001, 2, 99], []])
def test_histograms_without_a_lock_are_written_as_those_with_one(values: list[float]) -> None:
    """A value that is a bound is in its bucket."""
    ours, theirs = CollectorRegistry(), CollectorRegistry()
    quick = LoopHistogram("x", "Meaning.", "model", (1, 2))
    usual = Histogram("x", "Meaning.", ("model",), buckets=(1, 2), registry=theirs)
    ours.register(quick)
    for value in values:
        quick.observe("m", value)
        usual.labels("m").observe(value)
    lines = generate_latest(ours).decode().splitlines()
    assert lines == [line for line in generate_latest(theirs).decode().splitlines() if "_created" not in line]
