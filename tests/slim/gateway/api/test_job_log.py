"""Parts of a job's log over HTTP."""

import io

import pytest
from flask.testing import FlaskClient

from modelyard.models.registry.store import Store
from modelyard.pipeline.progress import Progress
from modelyard.services.gateway.settings import GatewaySettings
from modelyard.services.ledger import Ledger
from modelyard.services.ledger.logs import LOG_CHARS
from modelyard.services.trainer.stage_lines import StageLines
from tests.support.curves import add_job
from tests.support.fakes import FakeModelServer


@pytest.fixture
def settings(filled: Store, server: FakeModelServer, ledger_url: str, ledger: Ledger) -> GatewaySettings:
    ledger.prepare()
    return GatewaySettings(store=filled.root, serving=(server.address,), ledger_url=ledger_url)


def write_stages() -> str:
    """What a job would have written: lines about stages, and a warning among them."""
    out = io.StringIO()
    lines = StageLines(out)
    lines.write(Progress("data", "reading mnist"))
    lines.write(Progress("train", "preparing"))
    lines.write(Progress("train", epoch=1, epochs=2, step=1, steps=9, metrics={"loss": 2.0}))
    out.write("W a warning\n")
    lines.write(Progress("train", epoch=1, epochs=2, step=9, steps=9, metrics={"loss": 0.25}))
    lines.write(Progress("export"))
    lines.write_error("no room\nat all")
    return out.getvalue()


def test_a_log_can_be_followed(client: FlaskClient, ledger: Ledger) -> None:
    """Each answer says where the next one goes on; nothing new is nothing."""
    job, other = add_job(ledger), add_job(ledger)
    ledger.logs.write(job.id, "one\n")
    first = client.get(f"/api/jobs/{job.id}/log")
    ledger.logs.write(other.id, "other\n")
    ledger.logs.write(job.id, "two\n")
    second = client.get(f"/api/jobs/{job.id}/log?after={first.headers['X-Log-Next']}")
    third = client.get(f"/api/jobs/{job.id}/log?after={second.headers['X-Log-Next']}")
    assert [answer.get_data(as_text=True) for answer in (first, second, third)] == ["one\n", "two\n", ""]
    assert third.headers["X-Log-Next"] == second.headers["X-Log-Next"]
    assert "X-Log-Gap" not in second.headers
    for number in range(5):
        ledger.logs.write(job.id, f"{number}" * (LOG_CHARS // 3))
    late = client.get(f"/api/jobs/{job.id}/log?after={first.headers['X-Log-Next']}")
    assert late.headers["X-Log-Gap"] == "true"


def test_a_log_is_read_by_stage(client: FlaskClient, ledger: Ledger) -> None:
    """What is written between two lines about stages belongs to the first; an error ends the last."""
    job = add_job(ledger)
    ledger.logs.write(job.id, write_stages())

    def read(query: str) -> list[str]:
        lines = client.get(f"/api/jobs/{job.id}/log?{query}").get_data(as_text=True).splitlines()
        return [line.partition("Z ")[2] or line for line in lines]

    assert read("stage=train") == ["train: preparing", "W a warning", "train: epoch 1 of 2, loss 0.25"]
    assert read("stage=export") == ["export: begins", "export: failed: no room at all"]
    assert read("stage=gate") == []
    assert read("tail=1") == ["export: failed: no room at all"]


@pytest.mark.parametrize("query", ["stage=none", "tail=x", "after=-1", "tail=100001"])
def test_an_odd_part_of_a_log_is_refused(client: FlaskClient, ledger: Ledger, query: str) -> None:
    """With what is allowed."""
    answer = client.get(f"/api/jobs/{add_job(ledger).id}/log?{query}")
    assert answer.status_code == 400
    assert "allowed" in answer.json["error"]
