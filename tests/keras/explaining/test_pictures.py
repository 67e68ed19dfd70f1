"""Pictures: a heat map, for models with a gradient and without one; files as well as pixels."""

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from modelyard import ImageInput, ModelSpec, NumberInput
from modelyard.models.images.png import encode_png
from modelyard.models.types import Array
from modelyard.pipeline.exporting.saved_model import write_saved_model
from modelyard.pipeline.golden import has_answers
from tests.support.explained import NOWHERE, encode_by, explain, export, linear, texts

HEIGHT, WIDTH = 6, 8
BLANK = np.full((4, HEIGHT, WIDTH, 1), 50, np.uint8)


def draw(*bright: tuple[int, int]) -> Array:
    """A picture with some bright pixels."""
    image = np.full((1, HEIGHT, WIDTH, 1), 50, np.float32)
    for place in bright:
        image[0][place] = 250
    return image


def make_spec(encode: Any = None) -> ModelSpec:
    return ModelSpec(
        name="m",
        dataset=NOWHERE,
        task="multiclass",
        input=ImageInput(HEIGHT, WIDTH),
        labels=("left", "right"),
        encode=encode,
    )


def make_model() -> Any:
    """Left or right: which half is brighter?"""
    half = np.repeat([[0.01, -0.01]], WIDTH // 2, axis=0)
    kernel = np.tile(np.concatenate([half, -half]), (HEIGHT, 1)).astype(np.float32)
    model = keras.Sequential([keras.Input((HEIGHT, WIDTH, 1), name="images"), keras.layers.Flatten()])
    model.add(keras.layers.Dense(2, activation="softmax"))
    model.layers[-1].set_weights([kernel, np.zeros(2, np.float32)])
    return model


def write_and_load(spec: ModelSpec, folder: Path) -> tuple[Any, dict[str, Array]]:
    answers = write_saved_model(spec, make_model(), {}, {"images": BLANK}, folder)
    return tf.saved_model.load(str(folder)), answers


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, dict[str, Array]]:
    """The model as it is, exported and loaded, and its golden answers."""
    return write_and_load(make_spec(), tmp_path_factory.mktemp("plain") / "1")


@pytest.fixture
def by_gradient(plain: tuple[Any, dict[str, Array]]) -> Any:
    return plain[0]


@pytest.fixture(scope="module")
def by_tiles(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The same with rounding before it, which has no gradient: tiles are taken out instead."""
    spec = make_spec(encode_by(tf.round))
    return export(spec, make_model(), {"images": BLANK}, tmp_path_factory.mktemp("tiles") / "1")


@pytest.mark.parametrize("way", ["by_gradient", pytest.param("by_tiles", marks=pytest.mark.long)])
def test_pixels_weigh_what_they_add_to_the_answered_class(way: str, request: pytest.FixtureRequest) -> None:
    """Against a picture of the usual colour."""
    loaded = request.getfixturevalue(way)
    found = explain(loaded, np.concatenate([draw((1, 2), (4, 6), (2, 1)), draw((5, 7))]))
    assert found["class_id"].tolist() == [0, 1]
    expected = np.zeros((2, HEIGHT, WIDTH))
    expected[0, 1, 2] = expected[0, 2, 1] = expected[1, 5, 7] = 4
    expected[0, 4, 6] = -4
    np.testing.assert_allclose(found["weights"], expected, atol=1e-3)


def test_files_are_explained_with_the_pixels_that_the_model_saw(by_gradient: Any) -> None:
    """In the model's size; the weights are those of the same pixels, alone or beside another picture."""
    loaded = by_gradient
    image = draw((1, 2)).astype(np.uint8)
    large = np.repeat(np.repeat(image[0], 3, axis=0), 3, axis=1)
    files = np.array([encode_png(image[0]), encode_png(large)], dtype=object)
    found = explain(loaded, files, "explain_bytes")
    assert found["images"].dtype == np.uint8
    np.testing.assert_array_equal(found["images"][0], image[0])
    alone = explain(loaded, image.astype(np.float32))
    np.testing.assert_array_equal(found["weights"][0], alone["weights"][0])
    assert np.unravel_index(found["weights"][1].argmax(), (HEIGHT, WIDTH)) == (1, 2)


def test_a_large_picture_is_explained_a_few_steps_at_a_time(tmp_path: Path) -> None:
    """One of 400 x 400 pixels; the weights of a linear model are those of one step."""
    size = 400
    model = keras.Sequential([keras.Input((size, size, 1), name="images"), keras.layers.GlobalAveragePooling2D()])
    model.add(keras.layers.Dense(1))
    model.layers[-1].set_weights([np.array([[2]], np.float32), np.zeros(1, np.float32)])
    spec = ModelSpec(name="m", dataset=NOWHERE, task="regression", input=ImageInput(size, size))
    write_saved_model(spec, model, {}, {"images": np.zeros((2, size, size, 1), np.uint8)}, tmp_path / "1", files=False)
    loaded = tf.saved_model.load(str(tmp_path / "1"))
    image = np.zeros((1, size, size, 1), np.float32)
    image[0, 30, 40] = 80_000
    weights = explain(loaded, image)["weights"][0]
    assert weights[30, 40] == pytest.approx(1, abs=1e-4)
    assert weights.sum() == pytest.approx(1, abs=1e-4)


def test_a_picture_beside_a_number_has_a_weight_as_a_whole_and_a_map(tmp_path: Path) -> None:
    """Several inputs: outputs of the picture carry its name."""
    kinds = {"photo": ImageInput(HEIGHT, WIDTH), "age": NumberInput()}
    spec = ModelSpec(
        name="m",
        dataset=NOWHERE,
        task="regression",
        input=kinds,
        encode=encode_by(lambda raw: tf.stack([tf.reduce_mean(raw["photo"], axis=(1, 2, 3)), raw["age"]], axis=1)),
    )
    raw = {"photo": BLANK, "age": np.zeros(4, np.float32)}
    loaded = export(spec, linear([1, 3]), raw, tmp_path / "1")
    file = np.array([encode_png(draw((0, 0))[0].astype(np.uint8))], dtype=object)
    found = explain(loaded, {"photo_bytes": file, "age": np.array([2], np.float32)}, "explain_bytes")
    np.testing.assert_allclose(found["weights"], [[200 / 48, 6]], atol=1e-3)
    np.testing.assert_allclose(found["photo_weights"][0, 0, 0], 200 / 48, atol=1e-3)
    assert found["photo_images"][0, 0, 0, 0] == 250


# --- whether a version has one ----------------------------------------------------------------------------------------


def own(model: Any, _: Any) -> Any:
    """A spec's own signatures; ``explain`` returns the picture itself."""
    return {
        "serving_default": lambda images: {
            "probabilities": model(images),
            "class_id": tf.argmax(model(images), axis=1),
        },
        "explain": lambda images: {"weights": images[..., 0]},
    }


def test_a_models_own_explain_stands(tmp_path: Path, plain: tuple[Any, dict[str, Array]]) -> None:
    """It is compared by golden answers as any signature of its own; ours has none."""
    loaded, answers = write_and_load(ModelSpec(**{**vars(make_spec()), "signatures": own}), tmp_path / "own")
    assert set(loaded.signatures) == {"serving_default", "explain", "image_bytes"}
    assert has_answers(answers, "explain")
    loaded, answers = plain
    assert set(loaded.signatures) == {"serving_default", "explain", "image_bytes", "explain_bytes"}
    assert not has_answers(answers, "explain")


@pytest.mark.parametrize("change", [{"explain": False}, {"task": "custom", "signatures": "plain"}])
def test_some_models_have_none(tmp_path: Path, change: dict[str, Any]) -> None:
    """Who asks for none; and where there is no one number behind an answer."""
    if "signatures" in change:
        change = {**change, "signatures": lambda model, _: {"serving_default": lambda images: {"y": model(images)}}}
    loaded, _ = write_and_load(ModelSpec(**{**vars(make_spec()), **change}), tmp_path / "1")
    assert set(loaded.signatures) == {"serving_default", "image_bytes"}


def test_the_answer_of_own_signatures_is_explained(tmp_path: Path) -> None:
    """By its probabilities, as nothing else is known of them."""
    signatures = lambda model, _: {"serving_default": own(model, _)["serving_default"]}  # noqa: E731
    spec = ModelSpec(**{**vars(make_spec()), "signatures": signatures})
    loaded = export(spec, make_model(), {"images": BLANK}, tmp_path / "1")
    weights = explain(loaded, draw((1, 2)))["weights"][0]
    assert weights[1, 2] == pytest.approx(4, abs=1e-3)
    assert texts("images") == list(loaded.signatures["explain"].structured_input_signature[1])
