"""Tables of one's own from file to version: scikit-learn's, one in each format, by a model file of three lines."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from modelyard.models.catalog import load_spec
from modelyard.models.data import take
from modelyard.models.registry.cards.data_card import read_data_card
from modelyard.models.registry.manifest import NamedLimits
from modelyard.models.registry.store import Store
from modelyard.models.resolve import resolve
from modelyard.models.sources.files import Sources
from modelyard.models.spec import ModelSpec
from modelyard.models.types import Array
from modelyard.pipeline.arrays import load_arrays
from modelyard.pipeline.job import JobLocations, Published, TrainingJob
from modelyard.pipeline.processes.forkserver import ForkServer
from modelyard.pipeline.run import run_job
from tests.support.rehearsals import SoundModels
from tests.support.tables import TARGET, read_rows, write_table

MODEL = '''"""What is it?"""
from modelyard import ModelSpec, table
SPEC = ModelSpec(dataset=table("{file}", target="target"))
'''
NEAR = 0.1
"""Distance from a linear model's result on 17 to 59 test rows: six rows in the smallest."""


@dataclass(frozen=True)
class Trained:
    """A published version of one table."""

    name: str
    root: Path
    outcome: Published

    @property
    def version(self) -> Path:
        return self.root / "store" / self.name / "1"

    def spec(self) -> ModelSpec:
        given = load_spec(self.name, Sources((self.root,)))
        return resolve(given, given.dataset.read(self.root).schema)

    def test_inputs(self) -> Mapping[str, Array]:
        found: Mapping[str, Array] = self.spec().dataset.read(self.root).test.x
        return found


LONG = [pytest.param(file, marks=pytest.mark.long) for file in ("cancer.csv", "wine.jsonl")]


@pytest.fixture(scope="module", params=["diabetes.parquet", *LONG])
def trained(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, forks: ForkServer) -> Trained:
    root, file = tmp_path_factory.mktemp("table"), Path(request.param)
    write_table(root / file, *read_rows(file.stem))
    (root / f"{file.stem}.py").write_text(MODEL.format(file=file))
    kind = JobLocations if file.stem == "cancer" else SoundModels  # no shorter test rehearses two classes of a table
    places = kind(root / "store", root / "data", root / "work", (), Sources((root,)))
    job = TrainingJob(file.stem, "quick", {"epochs": 4, "min_steps": 400}, "auto", "stable", "a test")
    outcome = run_job(job, places, forks, lambda _: None)
    assert isinstance(outcome, Published)
    return Trained(file.stem, root, outcome)


def answer(version: Path, named: Mapping[str, Array]) -> Array:
    """Probabilities or values of the exported graph, by named inputs."""
    import tensorflow as tf

    signature = tf.saved_model.load(str(version)).signatures["serving_default"]
    outputs = signature(**{name: tf.constant(values) for name, values in named.items()})
    found: Array = outputs["value" if "value" in outputs else "probabilities"].numpy()
    return found


def test_a_table_is_published_about_as_good_as_a_linear_model(trained: Trained) -> None:
    """The baseline is scikit-learn's on the same split; the table's own rows are real data."""
    manifest = trained.outcome.manifest
    assert manifest.baseline is not None
    assert manifest.verdict.value >= manifest.baseline.value - NEAR
    assert manifest.data.source == "real"
    assert Store(trained.root / "store").verify(trained.name, 1) == manifest


def test_the_graph_takes_columns_by_name(trained: Trained) -> None:
    """One scalar input a column; titles that are no identifiers are kept beside them."""
    manifest = trained.outcome.manifest
    titles, _ = read_rows(trained.name)
    limits = manifest.input
    assert isinstance(limits, NamedLimits)
    assert [kind.title or name for name, kind in limits.inputs.items()] == [*titles[:-1]]
    assert {tensor.name for tensor in manifest.signatures["serving_default"].inputs} == set(limits.inputs)
    assert {tensor.shape for tensor in manifest.signatures["serving_default"].inputs} == {(None,)}


def test_the_graph_answers_as_the_keras_model_does(trained: Trained) -> None:
    """On every test row, whatever the order of the columns and the size of the batch."""
    from modelyard.models.defaults.row_encoder import encode_rows

    spec, x = trained.spec(), trained.test_inputs()
    state = load_arrays(trained.version / "assets.extra" / "state.npz")
    model = spec.build(spec.recipes["quick"], state)
    model.load_weights(trained.version / "assets.extra" / "model.weights.h5")
    expected = np.asarray(model(encode_rows(spec.encode(state), x), training=False))
    if spec.task == "binary":
        expected = np.concatenate([1 - expected, expected], axis=1)
    permuted = dict(reversed(x.items()))
    scale = max(1.0, float(np.abs(expected).max()))
    np.testing.assert_allclose(answer(trained.version, permuted) / scale, expected / scale, atol=1e-5)
    alone = answer(trained.version, take(permuted, slice(0, 1)))
    np.testing.assert_allclose(alone / scale, expected[:1] / scale, atol=1e-5)


def test_the_version_has_a_card_of_its_data(trained: Trained) -> None:
    """Rows of each part, classes or the range of the target, and ranges of columns that scikit-learn's data has."""
    card, (titles, rows) = read_data_card(trained.version), read_rows(trained.name)
    assert card is not None
    assert sum(card.rows.values()) == len(rows)
    assert card.fingerprint == trained.outcome.manifest.data.fingerprint
    assert len(card.columns) == len(titles) - 1
    targets: list[Any] = [row[-1] for row in rows]
    if trained.name == "diabetes":
        value = card.targets["value"]
        assert min(targets) <= value.minimum <= value.mean <= value.maximum <= max(targets)
    else:
        counts = {label: targets.count(label) for label in set(targets)}
        assert card.count_classes() == trained.outcome.manifest.data.classes == counts
    first = next(iter(card.columns.values()))
    assert first.minimum == pytest.approx(min(row[0] for row in rows), rel=0.5)
    assert first.minimum <= first.mean <= first.maximum


def test_a_row_says_its_target_nowhere(trained: Trained) -> None:
    """The target is no input."""
    assert TARGET not in trained.test_inputs()
