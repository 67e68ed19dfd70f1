"""``modelyard serve`` and ``up`` wait for a model server that has much to do while it loads, but not for ever."""

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from modelyard.client import Client, Unavailable
from modelyard.services.cli.commands.local import up
from modelyard.services.cli.commands.local.serve import (
    choose_example,
    describe_versions,
    wait_for_model,
    wait_until_loaded,
)
from modelyard.services.cli.gateway import connect
from tests.support.waiting import TIMEOUT_S

Response = tuple[int, object]
TIMED_OUT: Response = (504, {"error": "the model server did not answer in time"})
UNAVAILABLE: Response = (503, {"error": "the model server is not available; try again in a moment"})


def version(state: str) -> Response:
    return 200, {"model_version_status": [{"version": "1", "state": state, "status": {"error_message": ""}}]}


@contextmanager
def gateway(*answers: Response) -> Iterator[Client]:
    """One that says these, in turn; the last one for ever."""
    left = list(answers)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status, body = left.pop(0) if len(left) > 1 else left[0]
            content = json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            """Nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever).start()
        yield connect(f"http://127.0.0.1:{server.server_port}")
        server.shutdown()


def test_a_status_request_that_times_out_is_retried() -> None:
    """Late, away and loading are no reason to give up."""
    with gateway(TIMED_OUT, UNAVAILABLE, version("LOADING"), version("AVAILABLE")) as client:
        ((entry,),) = wait_until_loaded(client, ["m"]).values()
    assert entry["state"] == "AVAILABLE"


def test_a_server_without_a_status_ends_the_start_with_its_reason() -> None:
    """When the time is up."""
    with gateway(TIMED_OUT) as client, pytest.raises(Unavailable, match="did not answer in time"):
        wait_for_model(client, "m", deadline=time.monotonic())


def test_a_model_that_the_server_does_not_know_holds_up_no_other() -> None:
    """It has no versions, which is what is shown of it."""
    unknown = (404, {"error": "Servable not found"})
    with gateway(unknown, version("AVAILABLE")) as client:
        found = wait_until_loaded(client, ["missing", 'say "hi"?'])
    assert describe_versions(found["missing"]) == "no version was found"
    assert describe_versions(found['say "hi"?']) == "1"
    assert choose_example(found) == 'say "hi"?'


def versions_response(state: str) -> Response:
    return 200, {"versions": [{"version": 1, "state": "AVAILABLE"}, {"version": 2, "state": state}]}


NOT_READY: Response = (503, {"ready": False})
READY: Response = (200, {"ready": True})


@pytest.mark.parametrize(
    ("answers", "expected"),
    [
        ((NOT_READY, versions_response("LOADING"), NOT_READY, versions_response("AVAILABLE")), True),
        ((NOT_READY, versions_response("LOADING"), READY, versions_response("AVAILABLE")), True),
        ((NOT_READY, versions_response("LOADING"), NOT_READY, versions_response("END")), False),
        ((READY, versions_response("not loaded")), False),
    ],
)
def test_up_does_not_wait_for_a_stable_version_that_cannot_be_loaded(
    answers: tuple[Response, ...], expected: bool
) -> None:
    """It has failed, or another one answers in its place: the other models are of use all the same."""
    with gateway(*answers) as client:
        assert up.wait_for_version(client, "m", 2, deadline=time.monotonic() + TIMEOUT_S) is expected


def test_up_gives_up_on_a_version_that_is_never_loaded() -> None:
    """With its state."""
    with gateway(NOT_READY, versions_response("LOADING")) as client, pytest.raises(up.NotServing, match="LOADING"):
        up.wait_for_version(client, "m", 2, deadline=time.monotonic())
