"""The model server's metrics as Prometheus reads them: TensorFlow Serving's names and bounds, at one path."""

import shutil
import socket
import subprocess
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import httpx
import pytest

from modelyard.services.metrics.server import MetricsPortTaken
from modelyard.services.modelserver.errors import InvalidConfig
from modelyard.services.modelserver.metrics.call import MeasuredCall
from modelyard.services.modelserver.metrics.counts import ServingMetrics
from modelyard.services.modelserver.metrics.monitoring import PATH, read_path
from modelyard.services.modelserver.metrics.page import Page
from modelyard.services.modelserver.metrics.port import MetricsPort
from tests.support.ports import free_port
from tests.support.prometheus_text import read_samples
from tests.support.repository import ROOT
from tests.support.waiting import TIMEOUT_S

LINTS = (
    " metric names should not contain ':'",
    ' counter metrics should have "_total" suffix',
    ' non-histogram and non-summary metrics should not have "_count" suffix',
)
"""What `promtool` has against TensorFlow Serving's names."""
BOUNDS = {
    # prometheus_exporter.cc writes six digits.
    "request_latency": ("10", "18", "32.4", "58.32", "104.976", "188.957", "340.122"),
    "runtime_latency": ("10", "18", "32.4", "58.32", "104.976", "188.957", "340.122"),
    "request_example_counts": ("1", "2", "4", "8"),
    "batching_session:queuing_latency": ("100", "120", "144", "172.8", "207.36", "248.832", "298.598"),
    "batching_session:processed_batch_size": ("1", "2", "4", "8"),
}
COUNTS = {
    "request_latency": 33,
    "runtime_latency": 33,
    "request_example_counts": 15,
    "batching_session:queuing_latency": 52,
    "batching_session:processed_batch_size": 14,
}


@pytest.fixture
def metrics() -> ServingMetrics:
    """Of a server that answered a call of each kind, in batches of their own, and refused two."""
    found = ServingMetrics(lambda model: model == "m")
    for api in ("Predict", "Classify"):
        call = MeasuredCall()
        call.enter_queue("batches")
        call.leave_queue(call.queued + 0.001)
        call.rows, call.ran_s = 3, 0.001234
        call.add_run(8, 5)
        found.add(call, "m", api, "GRPC", grpc.StatusCode.OK)
    for model in ("m", "of a caller"):
        found.add(MeasuredCall(), model, "Predict", "GRPC", grpc.StatusCode.INVALID_ARGUMENT)
    return found


def test_many_calls_of_many_threads_are_counted_once(metrics: ServingMetrics) -> None:
    """While others read: a call is neither lost nor counted twice."""

    def call_often(_: int) -> None:
        for _ in range(500):
            metrics.add(MeasuredCall(), "m", "Predict", "GRPC", grpc.StatusCode.OK)

    with ThreadPoolExecutor(4) as threads:
        done = [threads.submit(call_often, number) for number in range(4)]
        page = Page(metrics, with_process=False)
        while not all(each.done() for each in done):
            page.render()
    for each in done:
        each.result()
    found = read_samples(page.render().decode())
    series = {"model_name": "m", "API": "Predict", "entrypoint": "GRPC"}
    assert found[":tensorflow:serving:request_latency_count", frozenset(series.items())] == 2001


def test_calls_have_tensorflow_servings_names_and_labels(metrics: ServingMetrics) -> None:
    """Errors by their status, times of what succeeded; what callers invent is no label."""
    found = read_samples(Page(metrics, with_process=False).render().decode())

    def value(name: str, **labels: str) -> float:
        return found[f":tensorflow:serving:{name}", frozenset(labels.items())]

    assert value("request_count", model_name="m", status="OK") == 2
    assert value("request_count", model_name="m", status="INVALID_ARGUMENT") == 1
    assert value("request_count", model_name="", status="INVALID_ARGUMENT") == 1
    assert value("request_latency_count", model_name="m", API="Predict", entrypoint="GRPC") == 1
    assert value("runtime_latency_sum", model_name="m", API="Classify", runtime="TF1") == 1234
    assert value("request_example_count_total", model="m") == 3  # Predict has none
    assert value("request_example_counts_count", model="m") == 1
    assert value("batching_session:queuing_latency_count", thread_pool_name="batches") == 2
    assert value("batching_session:input_batch_size_sum") == 6
    assert value("batching_session:processed_batch_size_sum") == 16
    assert value("batching_session:padding_size_sum", execution_batch_size="8") == 10
    assert value("batching_session:wrapped_run_count") == 2
    assert not any("of a caller" in dict(labels).values() for _, labels in found)


def test_buckets_have_tensorflow_servings_bounds(metrics: ServingMetrics) -> None:
    """As it writes them: rules that name one hold for either server."""
    text = Page(metrics, with_process=False).render().decode()
    for name, first in BOUNDS.items():
        lines = [line for line in text.splitlines() if line.startswith(f":tensorflow:serving:{name}_bucket{{")]
        series = {line.partition("le=")[0] for line in lines}
        bounds = [line.partition('le="')[2].partition('"')[0] for line in lines]
        assert tuple(bounds[: len(first)]) == first, name
        assert bounds[-1] == "+Inf"
        assert all("le=" in line for line in lines)
        assert len(set(bounds)) == COUNTS[name] + 1, name
        assert series


def test_types_are_of_the_names_that_are_shown(metrics: ServingMetrics) -> None:
    """A counter's name ends in no `_total` that TensorFlow Serving's has not."""
    text = Page(metrics, with_process=True).render().decode()
    assert "# TYPE :tensorflow:serving:request_count counter\n" in text
    assert "# TYPE :tensorflow:serving:request_example_count_total counter\n" in text
    assert "# TYPE :tensorflow:serving:batching_session:queuing_latency histogram\n" in text
    assert "# TYPE modelyard_modelserver_process_cpu_seconds_total counter\n" in text


@pytest.mark.skipif(
    shutil.which("promtool") is None, reason="there is no promtool: it is in Debian's package prometheus"
)
def test_prometheus_parses_them(metrics: ServingMetrics) -> None:
    """It has nothing against them but TensorFlow Serving's names."""
    page = Page(metrics, with_process=True).render()
    checked = subprocess.run(["promtool", "check", "metrics"], input=page, capture_output=True, check=False)
    said = (checked.stdout + checked.stderr).decode().splitlines()
    assert checked.returncode in (0, 3), said
    assert [line for line in said if line and not line.endswith(LINTS)] == []


@pytest.fixture
def port(metrics: ServingMetrics) -> Iterator[int]:
    opened, over = MetricsPort("127.0.0.1", free_port(), PATH, Page(metrics, with_process=False)), threading.Event()
    opened.open()
    yield opened.number
    opened.close(over)
    over.set()


def test_the_port_answers_at_one_path_and_reads_only(port: int) -> None:
    """Whoever asks for something else is told where they are."""
    url = f"http://127.0.0.1:{port}"
    found = httpx.get(url + PATH, timeout=TIMEOUT_S)
    assert found.headers["Content-Type"].startswith("text/plain; version=0.0.4")
    assert ':tensorflow:serving:request_count{model_name="m",status="OK"} 2' in found.text
    for path in ("/", "/metrics", PATH + "/", "/v1/models/m", "/v1/models/m:predict"):
        answer = httpx.get(url + path, timeout=TIMEOUT_S)
        assert (answer.status_code, answer.text) == (404, f"metrics are at {PATH}\n")
    assert httpx.post(url + PATH, timeout=TIMEOUT_S).status_code == 405
    assert httpx.head(url + PATH, timeout=TIMEOUT_S).text == ""


def test_a_taken_port_is_refused_with_what_helps(metrics: ServingMetrics) -> None:
    """At once, and not at the first scrape."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        number = other.getsockname()[1]
        with pytest.raises(MetricsPortTaken, match="choose another --rest_api_port"):
            MetricsPort("127.0.0.1", number, PATH, Page(metrics, with_process=False))


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ('prometheus_config { enable: true, path: "/metrics" }', "/metrics"),
        ("prometheus_config { enable: true }", PATH),
        ("prometheus_config { enable: false }", None),
        ("", None),
    ],
)
def test_the_file_is_tensorflow_servings(text: str, path: str | None, tmp_path: Path) -> None:
    """Off, unless it says so."""
    file = tmp_path / "monitoring.txt"
    file.write_text(text)
    assert read_path(file) == path


def test_the_shipped_file_turns_them_on_at_the_usual_path() -> None:
    """Which Prometheus is told of."""
    assert read_path(ROOT / "deploy/serving/monitoring.txt") == PATH
    assert f"metrics_path: {PATH}\n" in (ROOT / "deploy/prometheus/prometheus.yml").read_text()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("prometheus { }", "is no text-format MonitoringConfig"),
        ('prometheus_config { enable: true path: "metrics" }', "begins with /, received 'metrics'"),
        (None, "No such file"),
    ],
)
def test_a_file_of_no_use_is_named(text: str | None, words: str, tmp_path: Path) -> None:
    """With what is wrong in it."""
    file = tmp_path / "monitoring.txt"
    if text is not None:
        file.write_text(text)
    with pytest.raises(InvalidConfig, match=f"--monitoring_config_file: .*{words}"):
        read_path(file)
