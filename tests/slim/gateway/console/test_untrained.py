"""The page of a model that has no version yet: pages of its jobs, and the list of models, lead there."""

import pytest
from flask.testing import FlaskClient

from modelyard.services.ledger import Ledger, State
from tests.slim.gateway.console.conftest import MARKUP, add, end

pytestmark = pytest.mark.usefixtures("catalog")
BROWSER = {"Accept": "text/html"}


def read(client: FlaskClient, path: str, status: int = 200) -> str:
    answer = client.get(path, headers=BROWSER)
    assert answer.status_code == status, answer.get_data(as_text=True)[:500]
    return answer.get_data(as_text=True)


def test_a_model_that_can_be_trained_says_how(client: FlaskClient) -> None:
    """The list of models leads to it, and it to the form."""
    assert 'href="/models/bare"' in read(client, "/models")
    page = read(client, "/models/bare")
    assert "modelyard train bare --wait" in page
    assert 'href="/queue?model=bare#new"' in page


def test_its_first_job_leads_to_its_page_and_back(client: FlaskClient, ledger: Ledger) -> None:
    """While it runs, and after it was rejected."""
    job = add(ledger, "bare")
    assert 'href="/models/bare"' in read(client, f"/jobs/{job.id}")
    page = read(client, "/models/bare")
    assert "Its first version is on its way" in page
    assert f'href="/jobs/{job.id}"' in page
    ledger.jobs.cancel(job.id, by="ann")
    rejected = end(ledger, State.REJECTED, model="bare", reason=f"too low {MARKUP}")
    page = read(client, "/models/bare")
    assert "on its way" not in page
    assert f'href="/jobs/{rejected.id}"' in page
    assert "too low &lt;img" in page
    assert MARKUP not in page


def test_a_file_that_does_not_load_and_a_file_that_is_gone_have_a_page(client: FlaskClient, ledger: Ledger) -> None:
    """The error; the jobs that are left. Nothing is offered."""
    page = read(client, "/models/worse")
    assert "worse.py:3: &lt;img" in page
    assert "modelyard train" not in page
    job = end(ledger, State.FAILED, model="gone", reason="no memory")
    page = read(client, "/models/gone")
    assert f'href="/jobs/{job.id}"' in page
    assert "modelyard train" not in page


def test_a_model_of_which_nothing_is_known_has_none(client: FlaskClient) -> None:
    """As before."""
    assert "has no version yet" in read(client, "/models/nobody", 404)
