"""What goes wrong between a client and a gateway: what is sent again, what is not, and which error it is in the end."""

import pickle
import time
from pathlib import Path
from typing import Any

import pytest

from modelyard.client import (
    AsyncClient,
    BrokenAnswer,
    Client,
    Conflict,
    ConnectionBroken,
    Forbidden,
    InvalidInput,
    ModelyardClientError,
    NotFound,
    RateLimited,
    ServerFailed,
    TimedOut,
    Unauthenticated,
    Unavailable,
    Unreachable,
)
from modelyard.models.errors import ModelyardError
from tests.slim.client.conftest import Gateway, Opens
from tests.support.fakes import HALF_PLUS, REVIEWS
from tests.support.fault_proxy import Answers, Closes, Cuts, FaultProxy, Silent, Trickles

BUSY, LIMITED = Answers(503, "Retry-After: 0\r\n"), Answers(429, "Retry-After: 0\r\n")
NOTHING_LISTENS = "http://127.0.0.1:9"


@pytest.fixture
def behind(proxy: FaultProxy, served: Gateway, opens: Opens) -> Any:
    """A client that sends through the proxy."""
    return opens(proxy.url, served.key)


@pytest.mark.parametrize("fault", [BUSY, LIMITED, Closes(), Cuts(b"label")])
def test_a_prediction_is_sent_again(behind: Any, proxy: FaultProxy, fault: Any) -> None:
    """It changes nothing: whether the gateway was busy, or the connection ended before or within the answer."""
    proxy.faults.extend([fault, fault])
    assert behind.predict(REVIEWS, "a good film").label == "positive"
    assert len(proxy.requests) == 3


def test_what_changes_something_is_sent_again_only_if_it_was_refused(behind: Any, proxy: FaultProxy) -> None:
    """A connection that broke may have done it: the caller has to look."""
    for fault, error in ((Closes(), ConnectionBroken), (BUSY, Unavailable)):
        proxy.faults.append(fault)
        with pytest.raises(error):
            behind.models.rollback(HALF_PLUS, "why")
    assert len(proxy.requests) == 2
    proxy.faults.append(LIMITED)
    with pytest.raises(NotFound):
        behind.models.rollback("missing", "why")
    assert len(proxy.requests) == 4


def test_a_submission_that_is_sent_again_has_the_same_key(behind: Any, proxy: FaultProxy) -> None:
    """So that it is one job. The gateway of this test has no trainer, which is an error of the last try."""
    proxy.faults.extend([Closes(), BUSY])
    with pytest.raises(ModelyardClientError):
        behind.limited(retries=2).jobs.submit("neuron")
    keys = [line for request in proxy.requests for line in request.lower().split("\r\n") if "idempotency-key" in line]
    assert len(keys) == 3
    assert len(set(keys)) == 1


def test_the_last_error_is_raised_when_the_tries_are_used_up(behind: Any, proxy: FaultProxy) -> None:
    """One more than ``retries``; the gateway's own words."""
    proxy.faults.extend([BUSY] * 9)
    with pytest.raises(Unavailable, match="on purpose") as failed:
        behind.limited(retries=1).predict(REVIEWS, "x")
    assert (failed.value.status, failed.value.retry_after_s, len(proxy.requests)) == (503, 0.0, 2)


def test_no_pause_is_longer_than_the_time_that_is_left(behind: Any, proxy: FaultProxy) -> None:
    """``Retry-After`` is honoured: where that takes too long, the error comes at once, and says how long."""
    proxy.faults.append(Answers(429, "Retry-After: 3600\r\n"))
    with pytest.raises(RateLimited) as limited:
        behind.predict(REVIEWS, "x")
    assert (limited.value.retry_after_s, len(proxy.requests)) == (3600.0, 1)


def test_retry_after_is_waited_for(behind: Any, proxy: FaultProxy) -> None:
    """Not a moment less."""
    proxy.faults.append(Answers(503, "Retry-After: 1\r\n"))
    started = time.monotonic()
    assert behind.predict(REVIEWS, "good").label == "positive"
    assert time.monotonic() - started >= 1


def test_all_tries_together_have_one_deadline(behind: Any, proxy: FaultProxy) -> None:
    """A gateway that says nothing, one that never comes to an end, and one that is away."""
    for fault in (Silent(), Trickles()):
        proxy.faults.append(fault)
        with pytest.raises(TimedOut, match=r"did not answer within 0\.[12]"):
            behind.predict(REVIEWS, "x", timeout=0.2)
    assert "x-timeout-ms: 200" in proxy.requests[0].lower()
    proxy.requests.clear()
    proxy.faults.extend([Closes()] * 1000)
    with pytest.raises(Unavailable):
        behind.limited(timeout=2, retries=None).models.list()
    assert 3 <= len(proxy.requests) < 20


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (Answers(400), InvalidInput),
        (Answers(401), Unauthenticated),
        (Answers(403), Forbidden),
        (Answers(404), NotFound),
        (Answers(409), Conflict),
        (Answers(415), InvalidInput),
        (Answers(422), InvalidInput),
        (Answers(500), ServerFailed),
        (Answers(504), TimedOut),
        (Answers(302, "Location: http://elsewhere/\r\n"), BrokenAnswer),
        (Answers(200, body="<html>a proxy's page</html>"), BrokenAnswer),
        (Answers(200, body="[]"), BrokenAnswer),
        (Answers(502, body="<html>Bad gateway</html>"), ServerFailed),
    ],
)
def test_each_status_is_an_error_of_one_tree(
    behind: Any, proxy: FaultProxy, answer: Answers, error: type[ModelyardClientError]
) -> None:
    """With status and request id; none of these is sent again, and no redirection is followed with the key."""
    proxy.faults.append(Answers(answer.status, f"{answer.headers}X-Request-Id: abc\r\n", answer.body))
    with pytest.raises(ModelyardClientError) as failed:
        behind.predict(REVIEWS, "x")
    assert type(failed.value) is error
    assert isinstance(failed.value, ModelyardError)
    if answer.body != "[]":
        assert (failed.value.status, failed.value.request_id) == (answer.status, "abc")
    assert len(proxy.requests) == 1


def test_where_nothing_listens_it_is_said_at_once(opens: Opens) -> None:
    """With the address."""
    with pytest.raises(Unreachable, match=r"no gateway answers at http://127\.0\.0\.1:9") as failed:
        opens(NOTHING_LISTENS, retries=0).models.list()
    assert (failed.value.status, failed.value.request_id) == (0, None)


# --- keys and options -------------------------------------------------------------------------------------------------


def test_the_key_comes_from_the_argument_a_file_or_the_environment(
    served: Gateway, opens: Opens, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In this order; without one, and with a wrong one, it is 401."""
    (tmp_path / "modelyard_key").write_text(f"{served.key}\n")
    for wrong in (None, "myd_0123456789ab_wrong"):
        with pytest.raises(Unauthenticated):
            opens(served.url, wrong).models.list()
    assert opens(served.url, key_file=tmp_path / "modelyard_key").models.list().served
    monkeypatch.setenv("MODELYARD_URL", served.url)
    for name, value in (
        ("MODELYARD_API_KEY", served.key),
        ("MODELYARD_KEY", served.key),
        ("MODELYARD_KEY_FILE", str(tmp_path / "modelyard_key")),
        ("MODELYARD_SECRETS_DIR", str(tmp_path)),
    ):
        with monkeypatch.context() as patch:
            patch.setenv(name, value)
            assert opens().models.list().served
    monkeypatch.setenv("MODELYARD_API_KEY", "wrong")
    assert opens(key=served.key).models.list().served


def test_the_key_is_never_shown(served: Gateway, opens: Opens, tmp_path: Path) -> None:
    """Neither by ``repr`` nor by errors."""
    client = opens(served.url, served.key)
    for text in (repr(client), repr(client.options), str(client.options)):
        assert served.key not in text
    for key in ("two\nlines", "", "ключ"):
        with pytest.raises(InvalidInput) as refused:
            Client(served.url, key)
        assert not key.strip() or key not in str(refused.value)
    with pytest.raises(InvalidInput, match=r"key file .*: No such file"):
        Client(served.url, key_file=tmp_path / "missing")


@pytest.mark.parametrize("url", ["localhost:8080", "ftp://x", "http://", "modelyard"])
def test_an_address_that_is_none_is_refused(url: str) -> None:
    """Before anything is sent."""
    with pytest.raises(InvalidInput, match="expected http://HOST:PORT"):
        Client(url)


@pytest.mark.parametrize("kind", [Client, AsyncClient])
def test_a_client_goes_to_other_processes(kind: type[Client]) -> None:
    """As its options; each has connections of its own."""
    client = kind("http://example.org:1", "secret", timeout=7, retries=None)
    copy = pickle.loads(pickle.dumps(client))
    assert (type(copy), copy.options) == (kind, client.options)
    assert copy.options.key == "secret"


def test_a_client_closes_its_connections(served: Gateway) -> None:
    """With its block; then it is of no use."""
    with Client(served.url, served.key) as client:
        client.models.list()
    with pytest.raises(RuntimeError, match="closed"):
        client.models.list()
