"""Which backend and which devices a training gets, and the error if they are not available."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import h5py
import keras
import numpy as np
import pytest

from modelyard.models import backend
from modelyard.models.batches import Batches
from modelyard.models.catalog import load_spec
from modelyard.models.errors import InvalidRecipe, WrongBackend
from modelyard.models.recipes import Recipe
from modelyard.models.registry.store import Store
from modelyard.models.types import Backend
from modelyard.pipeline.__main__ import main
from modelyard.pipeline.errors import DevicesMissing
from modelyard.pipeline.fitting.checkpoint import VARIABLES
from modelyard.pipeline.fitting.devices import Devices, PaddedBatches, choose_devices, prepare_devices
from modelyard.pipeline.processes.forkserver import ForkedProcess, ForkServer
from modelyard.pipeline.stages.publish import describe_environment, hash_weights
from tests.support.rehearsals import share_rehearsals

GPUS = ["gpu:0", "gpu:1", "gpu:2"]
SPLIT = ["cpu:0", "cpu:1"]


@pytest.mark.parametrize(
    ("devices", "visible", "label"),
    [
        ("auto", ["cpu:0"], "cpu"),
        ("auto", GPUS, "gpu:1"),
        ("cpu", ["cpu:0"], "cpu"),
        ("gpu", GPUS, "gpu:1"),
        (1, GPUS, "gpu:1"),
        (2, GPUS, "gpu:2"),
        (3, GPUS, "gpu:3"),
        ("auto", SPLIT, "cpu"),
        (2, SPLIT, "cpu:2"),
    ],
)
def test_a_recipe_gets_what_it_asks_for(devices: Any, visible: list[str], label: str) -> None:
    """Several only if a number says so; the name in the decision record says what was used."""
    assert Devices(choose_devices(Recipe(devices=devices), visible)).label == label


@pytest.mark.parametrize(
    ("devices", "visible", "said"),
    [
        ("gpu", ["cpu:0"], "expected 1 GPU, but tensorflow sees cpu:0"),
        (1, SPLIT, "expected 1 GPU, but tensorflow sees cpu:0, cpu:1"),
        (2, ["cpu:0"], "expected 2 GPUs, but tensorflow sees cpu:0"),
        (4, GPUS, "expected 4 GPUs, but tensorflow sees gpu:0, gpu:1, gpu:2"),
    ],
)
def test_too_few_devices_are_an_error_with_both_numbers(devices: Any, visible: list[str], said: str) -> None:
    """Never fewer in silence."""
    with pytest.raises(DevicesMissing, match=said):
        choose_devices(Recipe(devices=devices), visible)


def test_a_process_on_another_backend_trains_nothing() -> None:
    """Keras cannot change it any more: the error says how to start one that can."""
    with pytest.raises(WrongBackend, match="expected a process that computes with jax, received one with tensorflow"):
        prepare_devices(Recipe(backend="jax"))


@pytest.mark.parametrize(
    ("values", "said"),
    [({"batch_size": 63}, "expected a multiple of 2"), ({"ema": 0.9}, "jax supports averages there")],
)
def test_what_several_devices_cannot_do_is_refused(values: dict[str, Any], said: str) -> None:
    """Before anything is trained."""
    with pytest.raises(InvalidRecipe, match=said):
        Devices(("gpu:0", "gpu:1")).require_support(Recipe(devices=2, **values))


def test_the_last_batch_is_filled_up_so_that_it_can_be_split() -> None:
    """With its own first rows; all others are as they were, and so is their order in the next epoch."""
    plain = Batches(np.arange(10)[:, None], np.arange(10), 4)
    even = PaddedBatches(plain, 4)
    assert [y.tolist() for _, y in (even[index] for index in range(len(even)))] == [
        [0, 1, 2, 3],
        [4, 5, 6, 7],
        [8, 9, 8, 9],
    ]
    even.on_epoch_end()
    assert plain.epoch == 1


def test_one_device_gets_the_batches_as_they_are() -> None:
    """No wrapper, no distribution: what was bit-equal stays so."""
    batches = Batches(np.zeros((3, 1)), np.zeros(3), 2)
    assert Devices(("cpu:0",)).pad_batches(batches) is batches


def test_the_decision_record_says_what_trained() -> None:
    """This process computes with TensorFlow: no version of JAX is named."""
    found = describe_environment("gpu:2", "g0123456789ab")
    assert (found.backend, found.device, found.jax) == ("tensorflow", "gpu:2", None)
    assert found.code == "g0123456789ab"


def test_jax_is_not_loaded_unless_selected(forks: ForkServer) -> None:
    """TensorFlow would load it wherever it is installed: not in the process that trainings are forked from."""
    with forks.start("tests.support.forked", "describe") as process:
        assert process.stdout.read().endswith(b"has JAX: False\n")


# --- two devices ------------------------------------------------------------------------------------------------------


class Steps:
    """What one device makes of a recipe, what two do, and two that go on: in processes of their own."""

    def __init__(self, name: Backend, folder: Path, forks: ForkServer) -> None:
        self.name, self.folder, self.forks = name, folder, forks

    def run(self, *wanted: str) -> dict[str, Any]:
        """By step, what came of it; on TensorFlow in a fork, on JAX in a new process."""
        arguments = (self.name, str(self.folder), *wanted)
        with self._started(*arguments) as process:
            assert process.stdout
            assert process.stderr
            printed, errors = process.stdout.read().decode(), process.stderr.read().decode()
        assert process.returncode == 0, errors[-3000:]
        found: dict[str, Any] = json.loads(printed.splitlines()[-1])
        return found

    def _started(self, *arguments: str) -> subprocess.Popen[bytes] | ForkedProcess:
        if self.name == backend.DEFAULT:
            return self.forks.start("tests.support.fit_split", *arguments)
        command = [sys.executable, "-m", "tests.support.fit_split", *arguments]
        return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


@pytest.fixture(scope="module")
def on_jax(tmp_path_factory: pytest.TempPathFactory, forks: ForkServer) -> dict[str, Any]:
    """All that one process on JAX computes: to start one takes longer than any step."""
    steps = Steps("jax", tmp_path_factory.mktemp("jax"), forks)
    return fit(steps, "answers", "published", "reviews", "gpu recipe")


@pytest.fixture(scope="module")
def on_tensorflow(tmp_path_factory: pytest.TempPathFactory, forks: ForkServer) -> dict[str, Any]:
    steps = Steps("tensorflow", tmp_path_factory.mktemp("tensorflow"), forks)
    return fit(steps, "published", "gpu recipe")


def fit(steps: Steps, *more: str) -> dict[str, Any]:
    """What was cut off is resumed in another process."""
    return {"name": steps.name, "folder": steps.folder} | steps.run("one", "two", *more) | steps.run("resumed")


@pytest.fixture(params=["tensorflow", "jax"])
def fitted(request: pytest.FixtureRequest) -> dict[str, Any]:
    found: dict[str, Any] = request.getfixturevalue(f"on_{request.param}")
    return found


def weights(trained: dict[str, Any]) -> list[Any]:
    """Those to export: on JAX, averages."""
    found: list[Any] = []
    with h5py.File(trained["weights"]) as file:
        file.visititems(lambda _, item: found.append(item[()]) if isinstance(item, h5py.Dataset) else None)
    return found


def raw_weights(trained: dict[str, Any]) -> list[Any]:
    """Those that training would go on with: never averages."""
    with np.load(Path(trained["weights"]).with_name(VARIABLES)) as found:
        return [found[name] for name in sorted(found) if name.startswith("model/")]


@pytest.mark.long
def test_two_devices_train_what_one_does(fitted: dict[str, Any]) -> None:
    """The same batches, in parts: history and weights differ by rounding only."""
    one, two = fitted["one"], fitted["two"]
    assert (one["device"], two["device"]) == ("cpu", "cpu:2")
    for epoch, other in zip(one["history"], two["history"], strict=True):
        assert other == pytest.approx(epoch, rel=1e-3)
    for array, other in zip(raw_weights(one), raw_weights(two), strict=True):
        np.testing.assert_allclose(other, array, atol=1e-3)
    for array, other in zip(weights(one), weights(two), strict=True):
        np.testing.assert_allclose(other, array, atol=1e-3)


@pytest.mark.long
def test_two_devices_go_on_from_their_checkpoint(fitted: dict[str, Any]) -> None:
    """In a new process, behind the epoch that was finished, to the same weights bit for bit."""
    assert fitted["resumed"]["epochs"] == [3]
    assert fitted["resumed"]["history"] == fitted["two"]["history"]
    digests = [hash_weights(Path(fitted[name]["weights"])) for name in ("two", "resumed")]
    assert digests[0] == digests[1]


@pytest.mark.long
def test_a_model_trained_on_two_devices_passes_its_gate(fitted: dict[str, Any]) -> None:
    """The whole job: the record names backend and devices of the training, not of the export."""
    found, name = fitted["published"], fitted["name"]
    assert (found["state"], found["backend"]) == ("published", name)
    assert (found["environment"]["backend"], found["environment"]["device"]) == (name, "cpu:2")
    assert bool(found["environment"]["jax"]) == (name == "jax")


@pytest.mark.long
def test_a_recipe_for_a_gpu_trains_on_either_backend(fitted: dict[str, Any]) -> None:
    """`mnist_cnn`'s, few steps of it on a processor: copies as they are sent, dropout, averages; its loss falls."""
    first, last = fitted["gpu recipe"]["history"]
    assert last["loss"] < first["loss"]
    assert last["val_accuracy"] > 0.2


@pytest.mark.long
def test_two_devices_average_weights_on_jax(on_jax: dict[str, Any]) -> None:
    """As one device does."""
    averages = {name: weights(on_jax[name]) for name in ("one", "two")}
    for array, other in zip(averages["one"], averages["two"], strict=True):
        np.testing.assert_allclose(other, array, atol=1e-3)
    raw = raw_weights(on_jax["two"])
    assert not all(any(np.array_equal(array, other) for other in raw) for array in averages["two"])


# --- JAX --------------------------------------------------------------------------------------------------------------


@pytest.mark.long
def test_custom_layers_give_equal_outputs_on_tensorflow_and_jax(on_jax: dict[str, Any]) -> None:
    """The reviews' model has two kinds; it is exported on the one backend with weights from the other."""
    folder = on_jax["folder"]
    spec = load_spec("sentiment_lstm")
    with np.load(folder / "answers.npz") as state:
        model = spec.build(spec.recipes["quick"], state)
        model.load_weights(folder / "answers.weights.h5")
        answered = keras.ops.convert_to_numpy(model(state["ids"], training=False))
        np.testing.assert_allclose(answered, state["said"], atol=1e-5)


@pytest.mark.long
def test_the_zoo_trains_on_jax(on_jax: dict[str, Any]) -> None:
    """`quick` on the sample passes the gate; the export equals the model and holds nothing of JAX.

    `mnist_mlp` and `mnist_cnn` are trained on two devices above.
    """
    found = on_jax["reviews"]
    assert (found["state"], found["backend"]) == ("published", "jax")
    assert (found["environment"]["backend"], found["environment"]["device"]) == ("jax", "cpu")
    assert found["environment"]["jax"]


def test_the_command_wants_the_backend_of_its_options(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Here Keras was imported on another one before, which no process can change."""
    monkeypatch.setenv(backend.VARIABLE, "tensorflow")
    with pytest.raises(SystemExit):
        main("neuron", set_=["backend=jax"])
    assert "expected a process that computes with jax, received one with tensorflow" in capsys.readouterr().err


@pytest.mark.long
def test_the_recipe_decides_and_not_the_environment(tmp_path: Path) -> None:
    """`python -m pipeline` that was started for another backend starts itself anew."""
    places = [word for name in ("store", "data-dir", "work-dir") for word in (f"--{name}", str(tmp_path / name))]
    share_rehearsals(tmp_path / "work-dir")
    command = [sys.executable, "-m", "modelyard.pipeline", "neuron", "--set", "epochs=2", *places]
    environment = os.environ | {backend.VARIABLE: "jax"}
    done = subprocess.run(command, check=False, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr[-3000:]
    assert Store(tmp_path / "store").manifest("neuron", 1).environment.backend == "tensorflow"
