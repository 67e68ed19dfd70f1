"""One job from top to bottom, without a queue: what it publishes, what it refuses, what it leaves behind."""

import json
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from modelyard.models.errors import InvalidRecipe, UnknownName
from modelyard.models.registry.evaluations import read_rejected, read_rejected_mistakes
from modelyard.models.registry.rollout import read_rollout
from modelyard.models.registry.store import Store
from modelyard.pipeline import golden
from modelyard.pipeline.__main__ import main
from modelyard.pipeline.errors import ExportRejected, StageFailed
from modelyard.pipeline.exporting.operations import check_operations, list_operations
from modelyard.pipeline.golden import load_golden, output_key, save_golden
from modelyard.pipeline.job import Cancelled, JobLocations, Published, Rejected, TrainingJob
from modelyard.pipeline.processes.forkserver import ForkServer
from modelyard.pipeline.progress import Progress
from modelyard.pipeline.run import run_job
from tests.keras.pipeline.conftest import locations
from tests.support.event_files import read_curves
from tests.support.explained import list_warmed_up
from tests.support.rehearsals import share_rehearsals

IGNORE: Callable[[Progress], None] = lambda _: None  # noqa: E731  # a report that nobody reads

LOCK = ".pointers.lock"
VALUE = output_key("serving_default", "value")
JOB = TrainingJob("neuron", "quick", {"epochs": 2}, "auto", "stable", "a test", job="job-0001", name="job-0001.1")


@pytest.fixture(scope="module")
def unpromoted(tmp_path_factory: pytest.TempPathFactory, forks: ForkServer) -> tuple[Path, Published]:
    """A version that was published when the disk failed: the lock of rollouts cannot be opened."""
    root = tmp_path_factory.mktemp("unpromoted")
    lock = root / "store" / LOCK

    def break_the_disk() -> None:
        lock.unlink(missing_ok=True)
        lock.symlink_to("/dev/null/none")

    outcome = run_job(JOB, locations(root), forks, IGNORE, break_the_disk)
    assert isinstance(outcome, Published)
    return root, outcome


def test_the_published_version_is_whole_and_says_where_it_comes_from(
    published: tuple[Path, Published, list[Progress]],
) -> None:
    """Every checksum fits; data, recipe, training, verdict and environment are in the manifest."""
    root, outcome, _ = published
    manifest = Store(root / "store").verify("neuron", 1)
    assert manifest == outcome.manifest
    assert (manifest.data.source, manifest.data.train) == ("generated", 800)
    assert manifest.recipe.values["seed"] == 0
    assert manifest.training.cpu_s > 0
    assert len(manifest.training.history) == manifest.training.epochs == 10
    assert manifest.verdict.accepted
    assert manifest.metrics["r2"] == manifest.verdict.value > 0.98
    assert manifest.environment.tensorflow.startswith("2.20")
    assert [tensor.shape for tensor in manifest.signatures["serving_default"].inputs] == [(None, 1)]


def test_the_version_folder_is_as_tensorflow_serving_wants_it(
    published: tuple[Path, Published, list[Progress]],
) -> None:
    """SavedModel, warm-up requests, golden answers, evaluation, weights for a warm start."""
    version = published[0] / "store" / "neuron" / "1"
    extra = {path.name for path in (version / "assets.extra").iterdir()}
    assert {path.name for path in version.iterdir()} >= {"saved_model.pb", "variables", "assets.extra"}
    assert extra == {
        *("data_card.json", "evaluation.json", "golden.npz", "manifest.json", "mistakes.jsonl", "model.weights.h5"),
        *("reference.json", "state.npz", "tf_serving_warmup_requests", "uncertainty.json"),
    }
    evaluation = json.loads((version / "assets.extra" / "evaluation.json").read_text())
    assert evaluation["golden_difference"] <= golden.TOLERANCE
    assert set(evaluation["latency_ms"]) == {"1", "32"}


def test_who_asks_first_waits_no_longer_for_an_answer_or_for_why(
    published: tuple[Path, Published, list[Progress]],
) -> None:
    """The model server has run all signatures when it takes a version in: explanations once, by one example."""
    warmed = list_warmed_up(published[0] / "store" / "neuron" / "1")
    assert warmed == [("serving_default", 1), ("serving_default", 8), ("explain", 1)]


def test_every_stage_is_reported_in_order(published: tuple[Path, Published, list[Progress]]) -> None:
    """The events of a job."""
    stages = list(dict.fromkeys(progress.stage for progress in published[2]))
    assert [stage for stage in stages if stage not in ("data", "rehearse")] == [
        "train",
        "export",
        "evaluate",
        "gate",
        "publish",
    ]


def test_it_is_promoted_and_the_history_records_that_there_was_no_comparison(
    published: tuple[Path, Published, list[Progress]],
) -> None:
    """Without a model server there is no parity check, and that is written down."""
    root, outcome, _ = published
    found = read_rollout(Store(root / "store"), "neuron")
    assert found.stable == 1
    assert "no model server was given" in found.history[-1].reason
    assert outcome.promotion.parity is None


def test_nothing_temporary_stays_behind(published: tuple[Path, Published, list[Progress]]) -> None:
    """No job folder, no staging folder."""
    root, _, _ = published
    assert list((root / "work").glob("job-*")) == []
    assert {path.name for path in (root / "store" / "neuron").iterdir()} == {"1", "history.jsonl", "rollout.json"}


def test_a_worse_version_is_rejected_with_both_numbers(rejected: tuple[Path, Rejected]) -> None:
    """The champion is measured on the same data; nothing is published, but its evaluation and mistakes are kept."""
    root, outcome = rejected
    store = Store(root / "store")
    kept = json.loads(read_rejected(store, "neuron", "job-0002"))
    assert kept["champion"]["version"] == 1
    assert kept["champion"]["metrics"]["r2"] == outcome.verdict.champion_value
    assert len(read_rejected_mistakes(store, "neuron", "job-0002") or ()) == kept["examples"]
    assert outcome.verdict.champion == 1
    assert any("below the floor" in reason for reason in outcome.verdict.reasons)
    assert any("of version 1 on the same test data" in reason for reason in outcome.verdict.reasons)
    assert Store(root / "store").versions("neuron") == (1,)


def test_a_rejected_job_leaves_its_curves(rejected: tuple[Path, Rejected]) -> None:
    """Losses, metrics and learning rate of each epoch, and what was measured on the test split."""
    events = rejected[0] / "events"
    train, validation = read_curves(events / "train"), read_curves(events / "validation")
    assert [step for step, _ in train["epoch_loss"]] == [step for step, _ in validation["epoch_loss"]] == [1, 2, 3]
    rates = [rate for _, rate in train["epoch_learning_rate"]]
    assert 1e-6 > rates[0] > rates[1] > rates[2] >= 0  # one cycle, behind its summit
    ((step, _),) = read_curves(events / "test")["evaluation_r2"]
    assert step == 3


def test_a_job_begins_with_the_stable_versions_weights_and_its_version_says_so(
    published: tuple[Path, Published, list[Progress]], tmp_path: Path, forks: ForkServer
) -> None:
    """After its first epoch it is as good as that one after its last; the manifest names it."""
    root, cold, _ = published
    shutil.copytree(root / "store", tmp_path / "store")
    said: list[Progress] = []
    job = replace(JOB, overrides={"init": "stable", "epochs": 2}, job="job-0002", name="job-0002.1")
    warm = run_job(job, locations(tmp_path), forks, said.append)
    assert isinstance(warm, Published)
    assert (cold.manifest.training.started_from, warm.manifest.training.started_from) == (None, 1)
    assert "starting from the weights of version 1" in [progress.message for progress in said]
    first, fresh = warm.manifest.training.history[0]["val_loss"], cold.manifest.training.history
    assert first < 0.9 * fresh[0]["val_loss"]
    assert first == pytest.approx(fresh[-1]["val_loss"], rel=0.05)


@pytest.mark.parametrize("moment", ["while it trains", pytest.param("before it publishes", marks=pytest.mark.long)])
def test_a_cancelled_job_leaves_nothing(tmp_path: Path, moment: str, forks: ForkServer) -> None:
    """It ends where it reports or checks; no version, no temporary folder, nothing promoted.

    Its checkpoints are left to whoever ran it: only they know whether there is another attempt.
    """
    asked: list[bool] = []

    def report(progress: Progress) -> None:
        if moment == "while it trains" and progress.epoch:
            raise Cancelled

    def before_publishing() -> None:
        asked.append(True)
        raise Cancelled

    with pytest.raises(Cancelled):
        run_job(JOB, locations(tmp_path), forks, report, before_publishing)
    assert asked == [True] * (moment == "before it publishes")
    store = Store(tmp_path / "store")
    assert (store.versions("neuron"), read_rollout(store, "neuron").stable) == ((), None)
    assert [path.name for path in (tmp_path / "store").glob("*/.*")] == []
    assert {path.name for path in (tmp_path / "work").iterdir()} <= {"baselines", "checkpoints", "rehearsed"}


def test_a_published_version_stays_when_the_disk_fails_before_its_promotion(
    unpromoted: tuple[Path, Published],
) -> None:
    """The job has succeeded, and says why its version does not answer."""
    root, outcome = unpromoted
    assert (outcome.promotion.promoted, outcome.promotion.reason) == (False, f"storage: {LOCK}: Not a directory")
    store = Store(root / "store")
    assert (store.versions("neuron"), read_rollout(store, "neuron").stable) == ((1,), None)


def test_a_job_that_is_started_again_after_it_published_does_not_train_again(
    unpromoted: tuple[Path, Published], tmp_path: Path, forks: ForkServer
) -> None:
    """Its worker was lost between store and ledger: the version is found by the job's id, and made to answer."""
    root, first = unpromoted
    shutil.copytree(root / "store", tmp_path / "store", symlinks=True)
    (tmp_path / "store" / LOCK).unlink()
    said: list[Progress] = []
    second = run_job(JOB, locations(tmp_path), forks, said.append)
    assert isinstance(second, Published)
    assert second.manifest == first.manifest
    assert "train" not in {progress.stage for progress in said}
    store = Store(tmp_path / "store")
    assert (store.versions("neuron"), read_rollout(store, "neuron").stable) == ((1,), 1)


@pytest.mark.parametrize(
    ("job", "error", "text"),
    [
        (TrainingJob("neurn", "quick", {}, "auto", "stable", "t"), UnknownName, "did you mean neuron"),
        (TrainingJob("neuron", "quik", {}, "auto", "stable", "t"), InvalidRecipe, "did you mean quick"),
        (TrainingJob("neuron", "quick", {"epoch": 1}, "auto", "stable", "t"), InvalidRecipe, "did you mean epochs"),
        (TrainingJob("neuron", "quick", {"epochs": "x"}, "auto", "stable", "t"), InvalidRecipe, "'epochs'"),
    ],
)
def test_an_invalid_job_fails_before_anything_is_done(
    tmp_path: Path, job: TrainingJob, error: type[Exception], text: str, forks: ForkServer
) -> None:
    """The closest valid names are given, and no folder appears."""
    with pytest.raises(error, match=text):
        run_job(job, JobLocations(tmp_path / "store", tmp_path / "data", tmp_path / "work", ()), forks, IGNORE)
    assert list(tmp_path.iterdir()) == []


def test_an_export_that_differs_from_training_is_not_evaluated(
    published: tuple[Path, Published, list[Progress]], tmp_path: Path, forks: ForkServer
) -> None:
    """Golden answers that the graph does not give: the evaluation process refuses the version."""
    import numpy as np

    from modelyard.models.catalog import load_spec
    from modelyard.models.data import Split
    from modelyard.pipeline.stages.evaluate import evaluate

    root, _, _ = published
    version = root / "store" / "neuron" / "1"
    answers = load_golden(version)
    copied = tmp_path / "staged"
    subprocess.run(["cp", "-r", str(version), str(copied)], check=True)
    save_golden(copied, answers | {VALUE: answers[VALUE] + 1})
    spec = load_spec("neuron")
    test = Split(np.zeros((4, 1), np.float32), np.zeros(4, np.float32))
    with pytest.raises(StageFailed, match=r"differs from the trained model by 0\."):
        evaluate(spec, tmp_path / "model.json", test, None, copied, None, tmp_path, forks, IGNORE)


def test_operations_that_a_plain_server_lacks_are_found(tmp_path: Path) -> None:
    """A Python function inside the graph."""
    import tensorflow as tf

    class Sneaky(tf.Module):
        @tf.function(input_signature=[tf.TensorSpec((), tf.float32)])
        def __call__(self, x: Any) -> Any:
            return tf.numpy_function(lambda value: value, [x], tf.float32)

    tf.saved_model.save(Sneaky(), str(tmp_path))
    assert "PyFunc" in set(list_operations(tmp_path / "saved_model.pb"))
    with pytest.raises(ExportRejected, match="PyFunc"):
        check_operations(tmp_path / "saved_model.pb")


def test_the_command_ends_with_status_three_when_rejected(tmp_path: Path, forks: ForkServer) -> None:
    """``python -m pipeline``: the reason is on standard error."""
    places = [word for name in ("store", "data-dir", "work-dir") for word in (f"--{name}", str(tmp_path / name))]
    share_rehearsals(tmp_path / "work-dir")
    options = ["--set", "learning_rate=1e-6", "--set", "epochs=2"]
    with forks.start("tests.support.forked", "run_pipeline", "neuron", *places, *options) as process:
        printed = process.stderr.read().decode()
    assert process.returncode == 3, printed
    assert "rejected: r2" in printed


def test_the_command_names_the_closest_model(capsys: pytest.CaptureFixture[str]) -> None:
    """Exit status 2, one line."""
    with pytest.raises(SystemExit) as ended:
        main("neuro")
    assert ended.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "did you mean neuron" in line
