"""What is wrong with a model shows within seconds, before any epoch, with the line of its file."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from textwrap import dedent

import pytest

from modelyard.models.errors import InvalidSpec, ModelyardError
from modelyard.models.sources.files import Sources, find_models
from modelyard.models.sources.loading import load_model
from modelyard.pipeline.check import check_model
from modelyard.pipeline.errors import StageFailed, TrainingFailed
from modelyard.pipeline.job import JobLocations, Measured, Published, TrainingJob
from modelyard.pipeline.processes.forkserver import ForkServer
from modelyard.pipeline.progress import Progress
from modelyard.pipeline.run import load_data, run_job
from modelyard.pipeline.stages.evaluate import evaluate

POINTS = """
    '''Above or below?'''
    import keras
    import numpy as np
    from modelyard import Batches, Dataset, Gate, ModelSpec, PreparedData, Recipe, Split, Splits, VectorInput

    def read(folder):
        x = np.random.default_rng(0).normal(size=(300, 2)).astype(np.float32)
        split = lambda part: Split(x[part], (x[part, 0] > 0).astype(np.int32))
        return Splits(split(slice(200)), split(slice(200, 250)), split(slice(250, 300)))

    def prepare(splits, recipe):
        train, validation = splits.train, splits.validation
        return PreparedData(
            Batches(train.x, train.y, recipe.batch_size, seed=recipe.seed), Batches(validation.x, validation.y, 50)
        )

    def build(recipe, state):
        return keras.Sequential([keras.Input((2,)), keras.layers.Dense(1, activation="sigmoid")])

    SPEC = ModelSpec(
        dataset=Dataset("points", "", read), task="binary", input=VectorInput(2), labels=("below", "above"),
        recipes={"quick": Recipe(epochs=3, learning_rate=0.1)}, explain=False, prepare=prepare, build=build, **MORE,
    )
"""


def write_model(folder: Path, *changes: tuple[str, str], more: str = "{}") -> Path:
    """A model's file ``above.py`` with some texts replaced."""
    text = dedent(POINTS).replace("**MORE", f"**{more}")
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    path = folder / "models" / "above.py"
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)
    return path


def check(folder: Path, forks: ForkServer, said: list[Progress] | None = None) -> None:
    report = [] if said is None else said
    check_model(make_job(), make_locations(folder), forks, report.append)


def make_job() -> TrainingJob:
    return TrainingJob("above", "quick", {}, "auto", "stable", "a test")


def make_locations(folder: Path) -> JobLocations:
    return JobLocations(folder / "store", folder / "data", folder / "work", (), Sources((folder / "models",)))


QUICK_LOOP = ["def fit(run):", "    run.report(1, {'val_loss': 0.5})", "", "SPEC = "]
"""A training that costs nothing."""


def test_a_sound_model_passes_and_its_job_rehearses_once(tmp_path: Path, forks: ForkServer) -> None:
    """The second job of the same file and recipe goes straight to its training; an edited file is rehearsed again."""
    write_model(tmp_path)
    check(tmp_path, forks)
    path = write_model(tmp_path, ("SPEC = ", "\n".join(QUICK_LOOP)), more="{'fit': fit}")

    def stages() -> set[str]:
        said: list[Progress] = []
        job = replace(make_job(), rollout="none")  # which ends behind its training
        assert isinstance(run_job(job, make_locations(tmp_path), forks, said.append), Measured)
        return {progress.stage for progress in said}

    assert "rehearse" in stages()
    assert "rehearse" not in stages()
    path.write_text(path.read_text() + "# edited\n")
    assert "rehearse" in stages()


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (("Dense(1,", "Dense(2,"), "a binary model returns [N,1] for 2 labels, received [N,2]"),
        (('Dense(1, activation="sigmoid")', "Dense(1)"), "expected probabilities, received values from"),
        (("keras.Input((2,))", "keras.Input((3,))"), "above.py"),
        (("    return keras", "    recipe.momentum\n    return keras"), "models/above.py:19: AttributeError"),
        pytest.param(("learning_rate=0.1", "learning_rate=0.1, optimizer='sgd'"), "", marks=pytest.mark.long),
    ],
)
def test_a_model_that_does_not_fit_its_task_or_input_is_refused(
    change: tuple[str, str], text: str, tmp_path: Path, forks: ForkServer
) -> None:
    """Outputs, shapes, and whatever the model's own code raises; a sound change passes."""
    write_model(tmp_path, change)
    if not text:
        check(tmp_path, forks)
        return
    with pytest.raises(StageFailed) as refused:
        check(tmp_path, forks)
    assert text in str(refused.value)


def test_a_loss_that_is_not_a_number_is_refused(tmp_path: Path, forks: ForkServer) -> None:
    """An unknown loss by name, too."""
    write_model(tmp_path, more="{'loss': 'mean_squared_logarithmic_errors'}")
    with pytest.raises(StageFailed, match="mean_squared_logarithmic_errors"):
        check(tmp_path, forks)
    nan = "kernel_initializer=keras.initializers.Constant(float('nan')), activation"
    write_model(tmp_path, ("activation", nan))
    with pytest.raises(StageFailed, match="the loss of the first batch is nan"):
        check(tmp_path, forks)


@pytest.mark.parametrize(
    ("more", "text"),
    [
        ("{'loss': 'mean_squared_logarithmic_errors'}", "mean_squared_logarithmic_errors"),
        ("{'loss': lambda y, p: keras.ops.mean(p) + recipe_of_nobody}", "recipe_of_nobody"),
    ],
)
def test_a_training_whose_first_step_fails_names_the_line(
    more: str, text: str, tmp_path: Path, forks: ForkServer
) -> None:
    """The step is the training's own: an unknown loss, and one that raises."""
    write_model(tmp_path, more=more)
    with pytest.raises(TrainingFailed, match=rf"above\.py:\d+: \w+: .*{text}"):
        run_job(make_job(), make_locations(tmp_path), forks, lambda _: None)


def test_operations_that_no_server_runs_are_found_before_the_training(tmp_path: Path, forks: ForkServer) -> None:
    """A Python function in the model's own signature."""
    lines = [
        "def signatures(model, state):",
        "    import tensorflow as tf",
        "    def look(vectors):",
        "        y = tf.numpy_function(lambda x: x[:, :1] * 0 + 0.5, [model(vectors)], tf.float32)",
        "        return {'probabilities': tf.concat([1 - y, y], 1), 'class_id': tf.argmax(model(vectors), 1)}",
        "    return {'serving_default': look}",
        "",
        "SPEC = ",
    ]
    write_model(tmp_path, ("SPEC = ", "\n".join(lines)), more="{'signatures': signatures}")
    with pytest.raises(StageFailed, match="PyFunc, which a plain CPU server cannot run"):
        check(tmp_path, forks)


def test_a_spec_that_does_not_fit_together_reads_no_data(tmp_path: Path, forks: ForkServer) -> None:
    """It is judged first."""
    reading = ("    x = np.random", "    raise OSError('read')\n    x = np.random")
    write_model(tmp_path, reading, more="{'gate': Gate('loss', floor=1)}")
    said: list[Progress] = []
    with pytest.raises(InvalidSpec, match="less of loss is better: give it a ceiling, not a floor"):
        check(tmp_path, forks, said)
    assert not said
    job = TrainingJob("above", "quick", {}, "auto", "stable", "a test")
    with pytest.raises(InvalidSpec, match="less of loss is better"):
        run_job(job, make_locations(tmp_path), forks, said.append)


OWN = [
    "def fit(run):",
    "    run.model.get_layer('only').set_weights([np.array([[9.0], [0.0]]), np.zeros(1)])",
    "    for epoch in (1, 2):",
    "        run.report(epoch, {'progress': epoch / 2})",
    "",
    "def evaluate(predict, split):",
    "    wrong = predict(split.x)['class_id'] != split.y",
    "    return {'mistakes': wrong.sum()}",
    "",
    "SPEC = ",
]


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory, forks: ForkServer) -> tuple[Path, Published]:
    """A version of a model with a loop and a metric of its own."""
    root = tmp_path_factory.mktemp("own")
    more = "{'fit': fit, 'evaluate': evaluate, 'metrics': {'mistakes': 'lower'}, 'gate': Gate('mistakes', ceiling=2)}"
    named = ('activation="sigmoid"', 'activation="sigmoid", name="only"')
    write_model(root, ("SPEC = ", "\n".join(OWN)), named, more=more)
    outcome = run_job(make_job(), make_locations(root), forks, lambda _: None)
    assert isinstance(outcome, Published)
    return root, outcome


def test_a_loop_and_metrics_of_ones_own_train_evaluate_and_gate(own: tuple[Path, Published]) -> None:
    """The loop's reports are the history, its metrics are the gate's; less of one is better."""
    root, outcome = own
    manifest = outcome.manifest
    assert [epoch["progress"] for epoch in manifest.training.history] == [0.5, 1.0]
    assert manifest.metrics["mistakes"] <= 2
    assert manifest.metrics["accuracy"] > 0.9
    assert manifest.verdict.reasons == (f"mistakes {manifest.metrics['mistakes']:.4f} reaches the ceiling 2.0000",)
    evaluation = json.loads((root / "store/above/1/assets.extra/evaluation.json").read_text())
    assert len(evaluation["mistakes"]) == manifest.metrics["mistakes"]
    assert evaluation["calibration"]


def evaluate_anew(root: Path, folder: Path, forks: ForkServer) -> None:
    """The evaluation of that version, by the model's file in ``folder``."""
    locations = make_locations(folder)
    loaded = load_model(find_models(locations.models).find("above"))
    spec, data = load_data(loaded.spec, make_job(), locations, lambda _: None)
    staged = shutil.copytree(root / "store" / "above" / "1", folder / "staged")
    source = loaded.save(folder / "model.json")
    evaluate(spec, source, data.splits.test, None, staged, None, folder, forks, lambda _: None)


def test_metrics_that_were_not_declared_are_refused(
    own: tuple[Path, Published], tmp_path: Path, forks: ForkServer
) -> None:
    """Nobody would know which way is better."""
    more = "{'evaluate': lambda predict, split: {'misses': 0}, 'metrics': {'mistakes': 'lower'}}"
    write_model(tmp_path, more=more.replace("}}", "}, 'gate': Gate('accuracy', floor=0.5)}"))
    with pytest.raises(StageFailed, match="expected the metrics mistakes, received misses"):
        evaluate_anew(own[0], tmp_path, forks)


DIVIDES = ("SPEC = ", "def fail(*given):\n    return 1 / 0\n\nSPEC = ")
LINE = r"above\.py:22: ZeroDivisionError: division by zero"


def test_an_error_in_a_loop_of_ones_own_has_its_line(tmp_path: Path, forks: ForkServer) -> None:
    write_model(tmp_path, DIVIDES, more="{'fit': fail}")
    with pytest.raises(ModelyardError, match=LINE):
        run_job(make_job(), make_locations(tmp_path), forks, lambda _: None)


def test_an_error_in_a_metric_of_ones_own_has_its_line(
    own: tuple[Path, Published], tmp_path: Path, forks: ForkServer
) -> None:
    more = "{'evaluate': fail, 'metrics': {'x': 'lower'}, 'gate': Gate('accuracy', floor=0.5)}"
    write_model(tmp_path, DIVIDES, more=more)
    with pytest.raises(ModelyardError, match=LINE):
        evaluate_anew(own[0], tmp_path, forks)
