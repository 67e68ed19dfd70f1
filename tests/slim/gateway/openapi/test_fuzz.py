"""Requests made from the OpenAPI document: every answer of a gateway process is one that the document promises."""

import copy
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import pytest
from hypothesis import settings

from modelyard.models.registry.store import Store
from tests.support.fakes import FakeModelServer
from tests.support.slim_programs import gateway

if TYPE_CHECKING:
    from tests.support.fuzzing import Fuzzer

TAGS = (
    *("answers", "audit", "canary", "cards", "evaluations", "examples", "feedback", "feedback_summary", "health"),
    *("job_history", "jobs", "keys", "mistakes", "models", "openapi", "pools", "predict", "queue", "recipes"),
    *("rollouts", "searches", "tfs", "traffic", "triggers", "v2", "versions"),
)
MODES = ("positive", "negative")
CASES = max(1, settings().max_examples // 12)
"""Of each kind for each operation: one, and many more by ``make fuzz``."""


@pytest.fixture(scope="module")
def fuzzer(template: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator["Fuzzer"]:
    from tests.support.fuzzing import MODES as MADE
    from tests.support.fuzzing import Fuzzer  # takes two seconds, and one process of pytest's needs it

    assert MADE == MODES
    home = tmp_path_factory.mktemp("fuzzed")
    store = Store(shutil.copytree(template, home / "store"))
    said = {"ledger_url": f"sqlite:///{home}/ledger.db", "broker_url": "redis://127.0.0.1:1/0"}
    with (
        FakeModelServer(store) as server,
        gateway(store=store.root, serving=server.address, **said) as (process, client),
    ):
        reading = threading.Thread(target=lambda: [None for _ in process.stderr or ()])  # a full pipe would stop it
        reading.start()
        found = Fuzzer(url_of(client))
        yield found
        found.close()
        process.kill()
        reading.join()


def url_of(client: httpx.Client) -> str:
    return str(client.base_url).rstrip("/")


@pytest.mark.hypothesis
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("tag", TAGS)
def test_every_response_is_one_that_the_document_declares(fuzzer: "Fuzzer", tag: str, mode: str) -> None:
    """Status, content type, headers and body; and no 5xx but those that are promised."""
    operations = fuzzer.operations(tag)
    assert operations
    for operation in operations:
        fuzzer.send(operation, mode, CASES, 0, fuzzer.checked)


def test_every_operation_is_fuzzed(fuzzer: "Fuzzer") -> None:
    """The tags above are all that there are."""
    assert {tag for operation in fuzzer.all_operations for tag in operation.tags} == set(TAGS)


@pytest.mark.parametrize("part", ["status", "content type", "header", "body"])
def test_a_document_that_promises_something_else_is_noticed(fuzzer: "Fuzzer", part: str) -> None:
    """Otherwise the tests above would show nothing."""
    from schemathesis.core.failures import FailureGroup

    wrong = copy.deepcopy(fuzzer.document)
    responses = wrong["paths"]["/healthz"]["get"]["responses"]
    if part == "status":
        responses["204"] = responses.pop("200")
    elif part == "content type":
        responses["200"]["content"] = {"text/html": {"schema": {"type": "string"}}}
    elif part == "header":
        wrong["components"]["headers"]["X-Request-Id"]["schema"] = {"type": "string", "maxLength": 0}
    else:
        wrong["components"]["schemas"]["Alive"]["properties"]["live"] = {"type": "string"}
    other = type(fuzzer)(fuzzer.url, wrong)
    operation = next(operation for operation in other.all_operations if operation.path == "/healthz")
    with pytest.raises(FailureGroup):
        other.send(operation, MODES[0], 1, 0, other.checked)
    other.close()
