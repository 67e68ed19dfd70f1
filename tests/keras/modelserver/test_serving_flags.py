"""``modelyard plan-batches --serving-file`` for real: model servers are started, asked and chosen among."""

import json
import os
from pathlib import Path

import pytest

from modelyard.models.registry.rollout import change_rollout
from modelyard.models.registry.store import Store
from modelyard.services.cli.commands.batching.choice import ServingFlags
from modelyard.services.cli.commands.batching.server_under_test import MeasurementFailed, run_server
from modelyard.services.cli.commands.batching.serving_flags import KINDS, Plan, measure
from modelyard.services.modelserver.batching.parameters import read_parameters
from tests.support import make_sign_models
from tests.support.command_line import run_here
from tests.support.versions import publish_copy

MODEL = "sign"
AFFINITY = os.sched_getaffinity(0)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With a store of one tiny model that is stable."""
    folder = tmp_path_factory.mktemp("home")
    make_sign_models.save(folder / "saved", *make_sign_models.WEIGHTS[1])
    store = Store(folder / "store")
    publish_copy(store, MODEL, folder / "saved")
    change_rollout(store, MODEL, lambda found: found.promote(1, by="test", reason="published"))
    return folder


def test_a_candidate_is_measured_with_every_load(home: Path) -> None:
    """With the flags that it was started with: its own gRPC port is not one that anybody else has."""
    plan = Plan(
        Store(home / "store"), {MODEL: 1}, 1, (), home / "batching.txt", 1e6, seconds=0.03, command=(), rounds=1
    )  # fmt: skip
    (found,) = measure(plan, [ServingFlags(batch_threads=2, timeout_us=500)])
    assert [(each.load.rows, each.load.calls) for each in found.results] == list(KINDS)
    assert all(each.rows_per_s > 0 and each.p99_ms > 0 for each in found.results)
    assert os.sched_getaffinity(0) == AFFINITY


def test_a_model_server_that_does_not_start_says_why(home: Path) -> None:
    """In its last line."""
    flags = ServingFlags(timeout_us=-1)
    with (
        pytest.raises(MeasurementFailed, match="batch_timeout_micros must be at least 0"),
        run_server(Store(home / "store"), {MODEL: 1}, flags, frozenset(AFFINITY)),
    ):
        pass


@pytest.mark.long
def test_the_command_writes_files_that_a_model_server_reads(home: Path, tmp_path: Path) -> None:
    """For the CPUs that were measured, and for more that are here nowhere."""
    path = tmp_path / "batching.txt"
    options = ("--cpus", "1", "--extrapolate", "64", "--seconds", "0.1", "--json")
    done = run_here("plan-batches", "--home", str(home), "--serving-file", str(path), *options)
    assert done.status == 0, done.err
    report = json.loads(done.out)
    assert report["files"] == {str(path): 1, str(tmp_path / "batching.64.txt"): 64}
    threads = report["chosen"]["flags"]["batch_threads"]
    assert read_parameters(path).num_batch_threads == threads
    assert read_parameters(tmp_path / "batching.64.txt").num_batch_threads == 64 * threads
    assert f"{MODEL} version 1" in path.read_text()
