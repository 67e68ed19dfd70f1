"""What cannot be imported: said before anything is published, and nothing is left in the store."""

import resource
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from modelyard.models.errors import ModelyardError, StorageFailed
from modelyard.models.registry.store import Store
from modelyard.models.tfserving.pools import ServingPools
from modelyard.pipeline.import_model import ImportJob, import_model
from modelyard.pipeline.processes.forkserver import ForkServer
from tests.support.imported_models import LABELS, make_classifier, save_classifier, save_function, save_test_data

SPEC = tf.TensorSpec([None, 2], tf.float32, name="x")


def refuse(root: Path, forks: ForkServer, path: Path, model: str = "cats", **given: Any) -> str:
    """The text of the refusal; the store is as it was."""
    job = ImportJob(model=model, path=path, by="a test", **given)
    with pytest.raises(ModelyardError) as refused:
        import_model(job, Store(root / "store"), ServingPools.of(()), forks, lambda _: None)
    assert Store(root / "store").models() == ()
    assert list((root / "store").glob("**/.staging-*")) == []
    return str(refused.value)


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_classifier(tmp_path_factory.mktemp("exported") / "model")


@pytest.fixture
def copied(tmp_path: Path, exported: Path) -> Path:
    """A copy to be damaged."""
    return shutil.copytree(exported, tmp_path / "model")


def edit_graph(folder: Path, edit: Callable[[Any], None]) -> Path:
    """Changes ``saved_model.pb``."""
    from tensorflow.core.protobuf.saved_model_pb2 import SavedModel

    parsed = SavedModel.FromString((folder / "saved_model.pb").read_bytes())
    edit(parsed.meta_graphs[0])
    (folder / "saved_model.pb").write_bytes(parsed.SerializeToString())
    return folder


# --- the folder -------------------------------------------------------------------------------------------------------


def test_a_folder_without_a_graph_is_refused(tmp_path: Path, exported: Path, forks: ForkServer) -> None:
    """Nothing at all; a folder of versions, whose names are said; another kind of file."""
    (tmp_path / "versions").mkdir()
    shutil.copytree(exported, tmp_path / "versions" / "7")
    (tmp_path / "weights.h5").write_bytes(b"")
    assert "received nothing there" in refuse(tmp_path, forks, tmp_path / "absent")
    assert "it is in 7: name one of them" in refuse(tmp_path, forks, tmp_path / "versions")
    assert "received another file" in refuse(tmp_path, forks, tmp_path / "weights.h5")


def test_links_are_not_followed(tmp_path: Path, copied: Path, forks: ForkServer) -> None:
    """To a file outside, and to a folder."""
    outside = tmp_path / "secret"
    outside.mkdir()
    (outside / "key").write_text("secret")
    (copied / "assets" / "key").symlink_to(outside / "key")
    assert "model/assets/key: expected a file, received a link" in refuse(tmp_path, forks, copied)
    (copied / "assets" / "key").unlink()
    (copied / "assets" / "more").symlink_to(outside)
    assert "model/assets/more" in refuse(tmp_path, forks, copied)


def test_a_model_that_the_disk_has_no_room_for_is_refused_before_it_is_copied(
    tmp_path: Path, copied: Path, forks: ForkServer
) -> None:
    """A sparse file of more bytes than any disk has."""
    with (copied / "assets" / "huge").open("wb") as file:
        file.truncate(1 << 42)
    job = ImportJob(model="cats", path=copied, by="a test")
    with pytest.raises(StorageFailed, match="are to be copied"):
        import_model(job, Store(tmp_path / "store"), ServingPools.of(()), forks, lambda _: None)
    assert Store(tmp_path / "store").models() == ()


def test_a_disk_that_fills_during_the_copy_leaves_nothing(tmp_path: Path, copied: Path) -> None:
    """By the command itself, which loads no TensorFlow for it: one line, and a store as it was."""
    with (copied / "assets" / "large").open("wb") as file:
        file.truncate(3_000_000)
    command = [sys.executable, "-m", "modelyard", "import", "cats", str(copied), "--home", str(tmp_path / "home")]
    Store(tmp_path / "home" / "store").prepare()  # its reserve is larger than what may be written below
    failed = subprocess.run(
        command,
        capture_output=True,
        timeout=120,
        check=False,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (2_000_000, 2_000_000)),
    )
    assert (failed.returncode, failed.stderr) == (1, b"error: storage: File too large\n")
    assert Store(tmp_path / "home" / "store").models() == ()


@pytest.mark.parametrize("damage", ["missing", "changed", "cut"])
def test_damaged_variables_are_found(tmp_path: Path, copied: Path, forks: ForkServer, damage: str) -> None:
    """By TensorFlow's own checksums, when the model is loaded."""
    (data,) = (copied / "variables").glob("variables.data-*")
    if damage == "missing":
        data.unlink()
    elif damage == "changed":
        content = bytearray(data.read_bytes())
        content[: len(content) // 2] = bytes(len(content) // 2)
        data.write_bytes(content)
    else:
        data.write_bytes(data.read_bytes()[:10])
    assert "it cannot be loaded" in refuse(tmp_path, forks, copied)


# --- the graph --------------------------------------------------------------------------------------------------------


def test_a_graph_that_is_none_is_refused(tmp_path: Path, copied: Path, forks: ForkServer) -> None:
    (copied / "saved_model.pb").write_bytes(b"not a graph at all")
    assert "saved_model.pb is damaged" in refuse(tmp_path, forks, copied)


def test_a_model_without_signatures_is_refused(tmp_path: Path, forks: ForkServer) -> None:
    """TensorFlow lists its initialisation among them; that is none."""
    module = tf.Module()
    module.weight = tf.Variable(1.0)
    tf.saved_model.save(module, str(tmp_path / "bare"))
    assert "it has no signatures" in refuse(tmp_path, forks, tmp_path / "bare")


def test_a_newer_tensorflow_is_refused_with_both_versions(tmp_path: Path, copied: Path, forks: ForkServer) -> None:
    """An unknown version passes: old writers say none."""

    def write_version(meta: Any) -> None:
        meta.meta_info_def.tensorflow_version = "2.99.1"

    refused = refuse(tmp_path, forks, edit_graph(copied, write_version))
    assert "2.99.1" in refused
    assert tf.__version__ in refused


def test_operations_that_a_server_lacks_are_listed(tmp_path: Path, copied: Path, forks: ForkServer) -> None:
    """Custom ones, in the graph or in one of its functions; and those of a GPU or of Python."""

    def add_custom(meta: Any) -> None:
        meta.graph_def.node.add(name="mine", op="SentencepieceOp")
        meta.graph_def.library.function[0].node_def.add(name="too", op="AnotherCustomOp")

    assert "AnotherCustomOp, SentencepieceOp" in refuse(tmp_path, forks, edit_graph(copied, add_custom))

    def called(x: Any) -> Any:
        return {"y": tf.ensure_shape(tf.py_function(lambda value: value, [x], tf.float32), [None, 2])}

    python = save_function(tmp_path / "python", called, SPEC)
    assert "EagerPyFunc, which a plain CPU server cannot run" in refuse(tmp_path, forks, python)


@pytest.mark.parametrize(
    ("shape", "said"), [([8, 2], "fixed batch dimension"), ([2], "fixed batch dimension"), ([], "no batch dimension")]
)
def test_a_signature_that_takes_no_batches_is_refused(
    tmp_path: Path, forks: ForkServer, shape: list[int], said: str
) -> None:
    folder = save_function(tmp_path / "fixed", lambda x: {"y": x * 2}, tf.TensorSpec(shape, tf.float32, name="x"))
    refused = refuse(tmp_path, forks, folder)
    assert "signature serving_default: input x has" in refused
    assert said in refused


def test_a_model_that_draws_random_numbers_is_refused(tmp_path: Path, forks: ForkServer) -> None:
    """No server's answers could be compared with it."""
    folder = save_function(tmp_path / "dice", lambda x: {"y": x + tf.random.uniform(tf.shape(x))}, SPEC)
    assert "from call to call" in refuse(tmp_path, forks, folder)


def test_a_signature_that_does_not_exist_is_said_with_those_that_do(
    tmp_path: Path, exported: Path, forks: ForkServer
) -> None:
    assert "did you mean serve" in refuse(tmp_path, forks, exported, signature="serving")


# --- Keras files ------------------------------------------------------------------------------------------------------


def test_code_in_a_keras_file_is_not_run(tmp_path: Path, forks: ForkServer) -> None:
    """A Lambda layer that would write a file, and a class that only its owner has."""
    mark = tmp_path / "was_run"
    path = str(mark)
    layer = keras.layers.Lambda(lambda x: (open(path, "w").close(), x)[1])  # noqa: PTH123  # Keras saves no Path
    model = keras.Sequential([keras.Input((2,)), layer])
    assert mark.exists()  # it runs where it is built
    mark.unlink()
    model.save(tmp_path / "lambda.keras")
    assert "code of its own, which is not run here" in refuse(tmp_path, forks, tmp_path / "lambda.keras")
    assert not mark.exists()

    class Own(keras.layers.Layer):  # type: ignore[misc]  # Keras has no type information
        def call(self, x: Any) -> Any:
            return x

    keras.Sequential([keras.Input((2,)), Own()]).save(tmp_path / "own.keras")
    assert "Could not locate class 'Own'" in refuse(tmp_path, forks, tmp_path / "own.keras")


def test_a_damaged_keras_file_is_refused(tmp_path: Path, forks: ForkServer) -> None:
    make_classifier().save(tmp_path / "whole.keras")
    (tmp_path / "cut.keras").write_bytes((tmp_path / "whole.keras").read_bytes()[:500])
    assert "a damaged one" in refuse(tmp_path, forks, tmp_path / "cut.keras")


# --- what comes with it -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["mnist_cnn", "Cats", "../cats", "cats-2", ""])
def test_a_name_that_is_taken_or_invalid_is_refused(
    tmp_path: Path, exported: Path, forks: ForkServer, name: str
) -> None:
    refused = refuse(tmp_path, forks, exported, model=name)
    assert "trained here" in refused or "expected a lower-case letter" in refused


@pytest.mark.parametrize(
    ("labels", "said"),
    [(("a", "b"), "--labels has 2 names"), (("a", "b", "b"), "each name once"), (("a",), "at least two names")],
)
def test_labels_that_do_not_fit_the_outputs_are_refused(
    tmp_path: Path, exported: Path, forks: ForkServer, labels: tuple[str, ...], said: str
) -> None:
    assert said in refuse(tmp_path, forks, exported, labels=labels)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("first,y\n1,low\n", "expected rows of shape [2], received [1]"),
        ("first,second\n1,2\n", "and the target y, received"),
        ("first,second,y\n1,2,low\n1,two,low\n", "line 3: second: expected a number, received 'two'"),
        ("first,second,y\n1,2,low\n1,2,huge\n", "row 2: expected one of low, middle, high"),
        ("first,second,y\n1,2,3\n", "row 1: expected one of low, middle, high, or 0 to 2, received 3"),
        ("first,first,y\n1,2,low\n", "expected each column once"),
        ("first,second,y\n1,low\n", "line 2: expected 3 values, received 2"),
        ("first,second,y\n", "at least one"),
        ("", "received"),
    ],
)
def test_test_data_that_does_not_fit_is_refused_with_the_row(
    tmp_path: Path, exported: Path, forks: ForkServer, content: str, said: str
) -> None:
    (tmp_path / "test.csv").write_text(content)
    assert said in refuse(tmp_path, forks, exported, labels=LABELS, test=tmp_path / "test.csv")


def test_test_data_with_objects_is_not_unpickled(tmp_path: Path, exported: Path, forks: ForkServer) -> None:
    np.savez(tmp_path / "objects.npz", x=np.array([{}, []], dtype=object), y=np.array([0, 1]))
    refused = refuse(tmp_path, forks, exported, labels=LABELS, test=tmp_path / "objects.npz")
    assert "objects.npz: cannot be read" in refused


def test_what_is_measured_must_be_said(tmp_path: Path, exported: Path, forks: ForkServer) -> None:
    """Three columns may be classes or numbers."""
    data = save_test_data(tmp_path / "test.npz")
    assert "give --labels" in refuse(tmp_path, forks, exported, test=data)


def test_what_a_killed_import_left_is_deleted_by_the_next(tmp_path: Path, exported: Path, forks: ForkServer) -> None:
    left = tmp_path / "store" / "cats" / ".staging-import-0123abcd"
    left.mkdir(parents=True)
    import_model(
        ImportJob(model="cats", path=exported, by="a test"),
        Store(tmp_path / "store"),
        ServingPools.of(()),
        forks,
        lambda _: None,
    )
    assert not left.exists()
