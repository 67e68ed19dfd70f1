"""Jobs that no worker can take: said wherever somebody looks, and accepted all the same."""

from typing import Any

import pytest
from flask.testing import FlaskClient

from modelyard.models.catalog import FILE, Catalog, RecipeField, TrainableModel
from modelyard.models.registry.store import Store
from modelyard.services import queues
from modelyard.services.gateway.settings import GatewaySettings
from modelyard.services.jobs import find_devices
from modelyard.services.ledger import Job, JobRequest, Ledger
from tests.slim.conftest import open_app
from tests.support.fakes import HALF_PLUS, FakeModelServer
from tests.support.waiting import wait_until

NO_GPU = "no trainer with a GPU is alive; the job starts when one does"
DEVICES = RecipeField(default="auto", constraints={"enum": ["auto", "cpu", "gpu"]})


@pytest.fixture
def settings(filled: Store, server: FakeModelServer, ledger_url: str, ledger: Ledger) -> GatewaySettings:
    ledger.prepare()
    known = TrainableModel(
        name=HALF_PLUS, task="", summary="", dataset="", homepage="", recipes={"quick": {"devices": DEVICES}}
    )
    (filled.root / FILE).write_text(Catalog(digest="", trainable={HALF_PLUS: known}).model_dump_json())
    return GatewaySettings(store=filled.root, serving=(server.address,), ledger_url=ledger_url)


def add(ledger: Ledger, devices: str) -> Job:
    return ledger.jobs.add(JobRequest(model=HALF_PLUS), by="test", devices=devices)


def read_job(client: FlaskClient, job: Job) -> Any:
    found = client.get(f"/api/jobs/{job.id}").json
    (listed,) = [each for each in client.get("/api/jobs").json["jobs"] if each["id"] == job.id]
    assert listed["waits_for"] == found["waits_for"]
    return found["waits_for"]


def read_metrics(client: FlaskClient) -> list[str]:
    shown = client.get("/metrics").get_data(as_text=True).splitlines()
    return [line for line in shown if line.startswith(("modelyard_workers", "modelyard_jobs", "modelyard_waiting"))]


def test_a_job_for_a_gpu_says_that_no_worker_has_one(client: FlaskClient, ledger: Ledger) -> None:
    """In the list and by itself; no longer once such a worker is there, or when the job has ended."""
    ledger.workers.register("cpu-1", ["train.cpu"])
    bound, free = add(ledger, "gpu"), add(ledger, "auto")
    assert (read_job(client, bound), read_job(client, free)) == (NO_GPU, None)
    ledger.workers.register("gpu-1", ["train.gpu"])
    assert read_job(client, bound) is None
    ledger.workers.unregister("gpu-1")
    ledger.jobs.cancel(bound.id, "test")
    assert read_job(client, bound) is None


def test_without_any_trainer_every_job_says_so(client: FlaskClient, ledger: Ledger) -> None:
    """Whatever it is to be trained on."""
    assert {read_job(client, add(ledger, devices)) for devices in ("auto", "cpu", "gpu", "4")} == {queues.NO_TRAINER}


def test_a_job_whose_worker_has_gone_waits_too(client: FlaskClient, ledger: Ledger) -> None:
    """It is called running, and nothing runs."""
    ledger.workers.register("gpu-1", ["train.gpu"])
    job = add(ledger, "gpu")
    ledger.jobs.claim(job.id, "gpu-1")
    assert read_job(client, job) is None
    ledger.workers.unregister("gpu-1")
    ledger.workers.register("cpu-1", ["train.cpu"])
    assert read_job(client, job) == NO_GPU


def test_probe_and_metrics_say_what_waits_for_a_worker(client: FlaskClient, ledger: Ledger) -> None:
    """The probe stays 200: predictions are answered."""
    ledger.workers.register("cpu-1", ["train.cpu"])
    for devices in ("gpu", "gpu", "2", "cpu"):
        add(ledger, devices)
    answer = client.get("/readyz")
    assert (answer.status_code, answer.json) == (
        200,
        {
            "ready": True,
            "details": [
                "1 job waits for devices '2': no trainer with 2 GPUs is alive; the job starts when one does",
                f"2 jobs wait for devices 'gpu': {NO_GPU}",
            ],
        },
    )
    assert read_metrics(client) == [
        'modelyard_workers{queue="train.cpu"} 1.0',
        'modelyard_waiting_jobs{devices="2"} 1.0',
        'modelyard_waiting_jobs{devices="cpu"} 1.0',
        'modelyard_waiting_jobs{devices="gpu"} 2.0',
        'modelyard_jobs_without_worker{devices="2"} 1.0',
        'modelyard_jobs_without_worker{devices="gpu"} 2.0',
    ]
    ledger.workers.register("gpus", queues.list_worker_queues(2))
    wait_until(lambda: client.get("/readyz").json == {"ready": True})


def test_a_trainer_that_is_missing_is_named_before_any_job_waits(client: FlaskClient) -> None:
    """Where there is a catalog, somebody trains."""
    assert client.get("/readyz").json["details"] == ["no trainer is alive: jobs are accepted, and wait for one"]
    assert 'modelyard_workers{queue="train.cpu"} 0.0' in read_metrics(client)


def test_a_gateway_that_only_predicts_opens_no_ledger(filled: Store, server: FakeModelServer) -> None:
    """Nobody trains for its store: there is nothing to say, and no file is made by a probe."""
    url = f"sqlite:///{filled.root}/none.db"
    with open_app(GatewaySettings(store=filled.root, serving=(server.address,), ledger_url=url)) as app:
        client = app.test_client()
        assert client.get("/readyz").json == {"ready": True}
        assert read_metrics(client) == []
    assert not (filled.root / "none.db").exists()


@pytest.mark.parametrize(
    ("value", "devices"),
    [(None, "auto"), ("gpu", "gpu"), (4, "4"), (4.0, "4"), ("4", "4"), ("2.0", "2"), ("1e1", "10")],
)
def test_a_number_of_gpus_has_one_form(value: Any, devices: str) -> None:
    """JSON takes 4.0 for a whole number, and so do a recipe's constraints; a queue's name must not hold it."""
    assert find_devices(value) == devices
