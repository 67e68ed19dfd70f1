"""A table of every kind of column, exported: the graph takes strings and gives the Keras model's answers."""

import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from modelyard import ModelSpec, table
from modelyard.models.data import take
from modelyard.models.defaults.row_encoder import encode_rows
from modelyard.models.resolve import resolve
from modelyard.models.types import Array
from modelyard.pipeline.arrays import load_arrays
from modelyard.pipeline.exporting.operations import check_operations
from modelyard.pipeline.exporting.saved_model import write_saved_model
from modelyard.pipeline.fitting.devices import prepare_devices
from modelyard.pipeline.stages.check_data import check_data
from modelyard.pipeline.stages.train import train
from tests.support.tables import write_csv

TITLES = ["age", "plan", "joined", "last note", "visits", "churned"]
WORDS = ("slow", "fast", "late", "fine", "lost", "kept")


def make_rows(count: int) -> list[list[Any]]:
    """Customers, some cells missing; whoever is old, has no plan or complains leaves."""
    draw = random.Random(0)
    rows = []
    for number in range(count):
        age, plan = draw.randint(18, 80), draw.choice(["gold", "silver", "free", ""])
        note = f"{draw.choice(WORDS)} and {draw.choice(WORDS)} again, number {number}"
        score = (age > 50) + (plan in ("free", "")) + ("lost" in note)
        joined = "" if draw.random() < 0.1 else f"20{draw.randint(10, 25)}-{draw.randint(1, 12):02d}-03"
        rows.append(["" if draw.random() < 0.1 else age, plan, joined, note, draw.random(), ["no", "yes"][score > 1]])
    return rows


class Exported:
    """A trained model of that table, and its graph as a server loads it."""

    def __init__(self, root: Path) -> None:
        import tensorflow as tf

        path = write_csv(root / "churn.csv", TITLES, make_rows(400))
        data = table(path.name, target="churned")
        given = ModelSpec(name="churn", dataset=data, file=root / "churn.py", explain=False)
        self.splits = given.dataset.read(root)
        self.spec = resolve(given, self.splits.schema)
        self.card = check_data(self.spec, self.splits)
        recipe = self.spec.recipes["quick"].override({"epochs": 3, "min_steps": 200})
        trained = train(
            self.spec, self.splits, recipe, prepare_devices(recipe), root, root / "checkpoints", lambda _: None
        )
        self.graph, self.state = root / "1", load_arrays(trained.state)
        self.model = self.spec.build(recipe, self.state)
        self.model.load_weights(trained.weights)
        raw = dict(take(self.splits.test.x, slice(0, 4)))
        write_saved_model(self.spec, self.model, self.state, raw, self.graph)
        self._loaded = tf.saved_model.load(str(self.graph))  # functions do not keep it
        self._signature = self._loaded.signatures["serving_default"]

    def ask(self, x: dict[str, Array]) -> Array:
        import tensorflow as tf

        given = {name: tf.constant(v.tolist() if v.dtype == object else v) for name, v in x.items()}
        found: Array = self._signature(**given)["probabilities"].numpy()
        return found


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Exported:
    return Exported(tmp_path_factory.mktemp("graph"))


def test_the_graph_answers_as_the_model_does(exported: Exported) -> None:
    """To 1e-5 on every test row, as strings and numbers by name."""
    x = exported.splits.test.x
    expected = np.asarray(exported.model(encode_rows(exported.spec.encode(exported.state), x), training=False))
    np.testing.assert_allclose(exported.ask(x)[:, 1:], expected, atol=1e-5)
    assert expected.std() > 0.2


def test_the_graph_learned_what_makes_customers_leave(exported: Exported) -> None:
    """Better than always the commonest answer, and about as good as logistic regression."""
    assert exported.spec.baseline is not None
    y = exported.splits.test.y
    right = float((exported.ask(exported.splits.test.x).argmax(axis=1) == y).mean())
    assert right > max(y.mean(), 1 - y.mean())
    assert right >= exported.spec.baseline(exported.splits).value - 0.1


def test_the_graph_has_only_operations_of_every_server(exported: Exported) -> None:
    """No Python inside."""
    check_operations(exported.graph / "saved_model.pb")


def test_the_graph_takes_what_training_never_saw(exported: Exported) -> None:
    """Unknown plans, dates that are none, missing numbers, other letters: a probability, and alone as in a batch."""
    x: dict[str, Array] = {
        "age": np.array([np.nan, 1e9, -5], np.float32),
        "plan": np.array(["platinum", "", " gold "], object),
        "joined": np.array(["soon", "", "2031-02-28T10:00:00+01:00"], object),
        "last_note": np.array(["", "日本語", "lost " * 2_000], object),
        "visits": np.array([0.5, np.nan, 0.1], np.float32),
    }
    together = exported.ask(x)
    assert np.isfinite(together).all()
    np.testing.assert_allclose(together.sum(axis=1), 1, atol=1e-6)
    for index in range(3):
        alone = exported.ask({name: values[index : index + 1] for name, values in x.items()})
        np.testing.assert_allclose(alone[0], together[index], atol=1e-6)


@pytest.mark.parametrize("size", [2, 7, 32, 64])
def test_a_row_is_answered_as_it_is_alone(size: int, exported: Exported) -> None:
    """Whatever rows it comes with."""
    x = dict(exported.splits.test.x)
    together = exported.ask(take(x, np.arange(size) % 9))
    for index in range(min(size, 9)):
        np.testing.assert_allclose(exported.ask(take(x, slice(index, index + 1)))[0], together[index], atol=1e-6)


def test_the_card_says_what_is_missing(exported: Exported) -> None:
    """By the names of the inputs."""
    assert set(exported.card.list_missing()) == {"age", "plan", "joined"}
    assert exported.card.columns["plan"].different == 3
