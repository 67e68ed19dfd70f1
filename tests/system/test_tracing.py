"""Traces of whole systems of real processes, read back from an OTLP receiver."""

import os
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import httpx
import pytest

from modelyard.pipeline.processes.forkserver import ForkServer
from modelyard.services.job_trace import trace_attempt
from modelyard.services.ledger import State
from modelyard.services.ledger.feedback import CapturedPrediction
from modelyard.services.tracing.otlp import open_tracing
from modelyard.services.tracing.settings import TracingSettings
from tests.support.otlp import OtlpReceiver, Received
from tests.support.ports import free_port
from tests.support.processes import START_S, WAIT_S
from tests.support.programs import running_fork
from tests.support.serving import MODEL, config_of, gateway_and_servers, listens, put
from tests.support.training import SHORT, TRAINED_S, TrainingCluster
from tests.support.waiting import wait_until

TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
HEADERS = {"traceparent": f"00-{TRACE}-{SPAN}-01"}
ROUTE = "POST /v1/models/<model:model>:predict"
RPC = "tensorflow.serving.PredictionService/Predict"
STAGES = ("data", "rehearse", "train", "export", "evaluate", "gate", "publish")


@pytest.fixture
def receiver(monkeypatch: pytest.MonkeyPatch) -> Iterator[OtlpReceiver]:
    """Of every process that a test starts."""
    with OtlpReceiver() as found:
        monkeypatch.setenv("MODELYARD_OTLP_ENDPOINT", found.url)
        yield found


def find_path(spans: list[Received], last: Received) -> list[tuple[str, str]]:
    """Service and name of a span, and of all that it is below, from the first one on."""
    known, path = {span.span_id: span for span in spans}, [last]
    while path[-1].parent_id in known:
        path.append(known[path[-1].parent_id])
    return [(span.service, span.name) for span in reversed(path)]


def test_a_prediction_is_one_trace_through_gateway_and_model_server(
    made: Path, tmp_path: Path, forks: ForkServer, receiver: OtlpReceiver
) -> None:
    put(made / MODEL / "1", tmp_path / "models" / MODEL / "1")
    with gateway_and_servers(forks, tmp_path, config_of(tmp_path / "models", MODEL), MODEL) as served:
        assert served.predict(MODEL, [4.0], headers=HEADERS).json() == {"predictions": [3.0]}
        run = receiver.await_span("run", trace_id=TRACE)
        receiver.await_span(ROUTE, trace_id=TRACE)
        receiver.await_span(RPC, trace_id=TRACE, kind="SERVER")
    path = find_path(receiver.spans, run)
    gateway = [("gateway", ROUTE), ("gateway", "model call"), ("gateway", RPC)]
    assert path in (
        [*gateway, ("modelserver", RPC), ("modelserver", "run")],
        [gateway[0], gateway[2], ("modelserver", RPC), ("modelserver", "run")],  # the first, which was not shared yet
    )


def test_a_prediction_in_one_process_is_one_trace_too(
    made: Path, tmp_path: Path, forks: ForkServer, receiver: OtlpReceiver
) -> None:
    """With the wait for a thread in the place of the message."""
    put(made / MODEL / "1", tmp_path / "models" / MODEL / "1")
    config, port = tmp_path / "models.config", free_port()
    config.write_text(config_of(tmp_path / "models", MODEL))
    settings = {
        "MODELYARD_PORT": str(port),
        "MODELYARD_STORE": str(tmp_path / "no-store"),
        "MODELYARD_SERVING": "local",
        "MODELYARD_SERVING_FLAGS": f"--model_config_file={config} --grpc_socket_path={tmp_path}/serving.sock",
        "MODELYARD_EXTERNAL_MODELS": MODEL,
    }
    with running_fork(forks, tmp_path / "gateway.log", "gateway", **settings) as gateway:
        wait_until(lambda: listens(port), START_S, "listening")
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False, timeout=60) as http:
            wait_until(lambda: predict(http).status_code == httpx.codes.OK, START_S, "an answer")
            answer = predict(http, **HEADERS)
        assert answer.json() == {"predictions": [3.0]}
        run = receiver.await_span("run", trace_id=TRACE)
        receiver.await_span(ROUTE, trace_id=TRACE)
        wait = receiver.await_span("wait for a thread", trace_id=TRACE)
        assert gateway.stop() == 0
    names = [name for _, name in find_path(receiver.spans, run)]
    assert names in ([ROUTE, "model call", "Predict", "run"], [ROUTE, "Predict", "run"])
    assert find_path(receiver.spans, wait)[:-1] == find_path(receiver.spans, run)[:-1]
    assert {span.service for span in receiver.spans} == {"gateway"}


def predict(http: httpx.Client, **headers: str) -> httpx.Response:
    return http.post(f"/v1/models/{MODEL}:predict", json={"instances": [4.0]}, headers=headers)


@pytest.mark.long
def test_a_job_is_one_trace_from_its_request_to_its_last_stage(
    cluster: TrainingCluster, receiver: OtlpReceiver
) -> None:
    """Through a real gateway, queue, worker and training process, which itself knows nothing of traces."""
    port = free_port()
    gateway = {**cluster.settings, "MODELYARD_PORT": str(port), "MODELYARD_SERVING": f"unix:{cluster.home}/none.sock"}
    asked = {"model": SHORT["model"], "overrides": {"epochs": SHORT["epochs"]}, "data": "sample", "rollout": "manual"}
    with running_fork(cluster.forks, cluster.home / "gateway.log", "gateway", **gateway):
        wait_until(lambda: listens(port), START_S, "listening")
        url = f"http://127.0.0.1:{port}/api/jobs"
        answer = httpx.post(url, json=asked, headers=HEADERS, timeout=60, trust_env=False)
        assert answer.status_code == httpx.codes.ACCEPTED, answer.text
        cluster.worker("one", MODELYARD_OTLP_ENDPOINT=os.environ["MODELYARD_OTLP_ENDPOINT"])
        job = receiver.await_span("job", TRAINED_S)
        request = receiver.await_span("POST /api/jobs")
    (wait,), (attempt,) = receiver.find("wait in the queue"), receiver.find("attempt")
    assert {span.trace_id for span in receiver.spans} == {TRACE}
    assert (request.parent_id, job.parent_id) == (SPAN, request.span_id)
    assert wait.parent_id == attempt.parent_id == job.span_id
    stages = [span for span in receiver.spans if span.parent_id == attempt.span_id]
    names = [span.name for span in sorted(stages, key=lambda span: span.began_ns)]
    assert names in (list(STAGES), [name for name in STAGES if name != "rehearse"])  # once for all tests of a run
    assert all(span.service == "trainer" for span in (job, wait, attempt, *stages))
    assert (job.attributes["modelyard.job.id"], job.attributes["modelyard.model"]) == (answer.json()["id"], "neuron")
    assert job.attributes["modelyard.job.outcome"] == "succeeded"


def make_due(cluster: TrainingCluster) -> None:
    """A trigger, and the feedback that it waits for."""
    job = {"overrides": {"epochs": SHORT["epochs"]}, "data": "sample"}
    cluster.ledger.triggers.put("neuron", "weekly", {"feedback": 1, "job": job}, "test")
    answer = CapturedPrediction("id", 0, "neuron", 1, "x", "float32", (1,), b"1234", 1.0, None, datetime.now(UTC))
    cluster.ledger.feedback.capture([answer])
    cluster.ledger.feedback.record_truth(answer, 1.0, right=True, client="test")


def fire(cluster: TrainingCluster, receiver: OtlpReceiver) -> Received:
    """By a real scheduler, which sends what it has when it ends."""
    settings = cluster.settings | {"MODELYARD_TRIGGER_S": "0.2", "MODELYARD_OTLP_ENDPOINT": receiver.url}
    make_due(cluster)
    with running_fork(cluster.forks, cluster.home / "scheduler.log", "scheduler", **settings) as scheduler:
        wait_until(cluster.ledger.jobs.find, WAIT_S, "a job")
        assert scheduler.stop() == 0
    return receiver.await_span("trigger")


def test_a_triggers_job_is_in_the_trace_of_its_firing(cluster: TrainingCluster, receiver: OtlpReceiver) -> None:
    """Through the ledger: the message in the queue has the job's id, and nothing else."""
    firing = fire(cluster, receiver)
    (job,) = cluster.ledger.jobs.find()
    tracing, claimed = open_tracing(TracingSettings.load(), "trainer"), cluster.ledger.jobs.claim(job.id, "a worker")
    assert tracing
    assert claimed
    with trace_attempt(tracing, cluster.ledger, claimed) as note:
        note("data")
        assert cluster.ledger.jobs.finish(claimed, State.FAILED, {"reason": "a test"})
    tracing.close()
    told = receiver.await_span("job")
    assert (firing.service, firing.kind, firing.parent_id) == ("scheduler", "PRODUCER", "")
    assert firing.attributes["modelyard.job.id"] == told.attributes["modelyard.job.id"] == job.id
    assert (firing.attributes["modelyard.model"], firing.attributes["modelyard.trigger"]) == ("neuron", "weekly")
    assert (told.trace_id, told.parent_id) == (firing.trace_id, firing.span_id)
    assert find_path(receiver.spans, receiver.await_span("data")) == [
        ("scheduler", "trigger"),
        *(("trainer", name) for name in ("job", "attempt", "data")),
    ]


@pytest.mark.long
def test_a_triggers_job_is_one_trace_to_its_last_stage(cluster: TrainingCluster, receiver: OtlpReceiver) -> None:
    """By a real worker and training process."""
    firing = fire(cluster, receiver)
    cluster.worker("one", MODELYARD_OTLP_ENDPOINT=receiver.url)
    told = receiver.await_span("job", TRAINED_S)
    assert told.parent_id == firing.span_id
    assert {span.trace_id for span in receiver.spans} == {firing.trace_id}
    assert set(STAGES) - {"rehearse"} <= {span.name for span in receiver.spans}
