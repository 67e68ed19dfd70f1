"""Models of pictures and of texts whose files only say where the data is: trained, exported, and asked."""

import csv
import json
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from modelyard.models.sources.files import Sources
from modelyard.pipeline import golden
from modelyard.pipeline.job import Published, TrainingJob
from modelyard.pipeline.processes.forkserver import ForkServer
from modelyard.pipeline.progress import Progress
from modelyard.pipeline.run import run_job
from tests.support.explained import list_warmed_up
from tests.support.photos import CLASSES, cut_photos, encode_image, write_photos
from tests.support.rehearsals import SoundModels

PICTURES = (
    'from modelyard import ModelSpec, image_folder\n\nSPEC = ModelSpec(dataset=image_folder("../photos", (32, 32)))\n'
)
REVIEWS = (
    "from modelyard import ModelSpec, texts\n\n"
    'SPEC = ModelSpec(dataset=texts("../reviews.csv", label="opinion"), explain=False)\n'
)
ORIENTATION = 0x0112
COUNT = 60
"""Pictures of each class."""


def train(root: Path, forks: ForkServer, said: list[Progress], model: str, source: str, **overrides: Any) -> Published:
    (root / "models").mkdir(exist_ok=True)
    (root / "models" / f"{model}.py").write_text(source)
    locations = SoundModels(root / "store", root / "data", root / "work", (), Sources((root / "models",)))
    job = TrainingJob(model, "quick", overrides, "auto", "manual", "a test")
    outcome = run_job(job, locations, forks, said.append)
    assert isinstance(outcome, Published), outcome
    return outcome


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory, forks: ForkServer) -> tuple[Path, Published, list[Progress]]:
    """A model of flowers and temples. Three more files are damaged, or no pictures."""
    root, said = tmp_path_factory.mktemp("pictures"), list[Progress]()
    folder = write_photos(root / "photos", COUNT)
    (folder / "temple" / "cut.jpg").write_bytes(encode_image(cut_photos("temple", 1)[0], "JPEG")[:700])
    (folder / "flower" / "list.txt").write_text("of flowers")
    (folder / "flower" / ".hidden.png").write_text("of nobody")
    return root, train(root, forks, said, "pictures", PICTURES, epochs=3, min_steps=60, channels=8), said


@pytest.fixture(scope="module")
def graph(pictures: tuple[Path, Published, list[Progress]]) -> Any:
    """Its version, loaded."""
    return tf.saved_model.load(str(pictures[0] / "store" / "pictures" / "1"))


def ask(graph: Any, signature: str, **inputs: Any) -> dict[str, Any]:
    answers = graph.signatures[signature](**{name: tf.constant(values) for name, values in inputs.items()})
    return {name: value.numpy() for name, value in answers.items()}


def test_a_folder_of_photographs_is_a_model(pictures: tuple[Path, Published, list[Progress]]) -> None:
    """Three lines: classes by the names of folders, better than the baseline, the export equal to training's model."""
    root, outcome, said = pictures
    manifest = outcome.manifest
    assert (manifest.labels, manifest.data.source, manifest.task) == (CLASSES, "real", "binary")
    assert manifest.metrics["accuracy"] > 0.9
    assert manifest.data.train + manifest.data.validation + manifest.data.test == 2 * COUNT
    evaluation = json.loads((root / "store" / "pictures" / "1" / "assets.extra" / "evaluation.json").read_text())
    assert evaluation["golden_difference"] <= golden.TOLERANCE
    assert (manifest.input.kind, manifest.input.channels) == ("image", 3)  # type: ignore[union-attr]  # kind tells
    told = [*manifest.verdict.reasons, *(progress.message for progress in said)]
    assert any("1 pictures left out" in str(text) and "cut.jpg is damaged" in str(text) for text in told)
    assert "2 files ignored, which are no pictures" in manifest.verdict.reasons
    answers = [(signature, size) for signature in ("serving_default", "image_bytes") for size in (1, 8)]
    warmed = list_warmed_up(root / "store" / "pictures" / "1")
    assert warmed == [*answers, ("explain", 1), ("explain_bytes", 1)]


def test_pictures_are_asked_as_files_of_any_form(graph: Any) -> None:
    """PNG, JPEG, with an alpha channel, turned by EXIF: one answer for the same picture; in one request or alone."""
    picture = cut_photos("flower", 1, seed=9)[0]
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    stored = picture.transpose(Image.Transpose.ROTATE_90)
    forms = [
        encode_image(picture),
        encode_image(picture.convert("RGBA")),
        encode_image(stored, exif=exif),
        encode_image(stored, "JPEG", exif=exif, quality=100, subsampling=0),
        encode_image(picture, "JPEG", quality=100, subsampling=0),
    ]
    together = ask(graph, "image_bytes", image_bytes=forms)
    assert {CLASSES[number] for number in together["class_id"]} == {"flower"}
    same = together["probabilities"][:3]
    np.testing.assert_allclose(same, np.repeat(same[:1], 3, axis=0), atol=1e-3)
    np.testing.assert_allclose(together["probabilities"], np.repeat(same[:1], 5, axis=0), atol=0.05)
    alone = ask(graph, "image_bytes", image_bytes=forms[3:4])
    np.testing.assert_allclose(alone["probabilities"][0], together["probabilities"][3], atol=1e-5)


def test_the_served_graph_sees_the_pixels_of_training(
    pictures: tuple[Path, Published, list[Progress]], graph: Any
) -> None:
    """A file that was read for training, asked as a file and as the pixels that the reader made of it."""
    from modelyard import image_folder

    root, _, _ = pictures
    test = image_folder("photos", (32, 32)).read(root).test
    contents = {file.read_bytes() for file in (root / "photos").rglob("[0-9]*.*g")}
    by_file = ask(graph, "image_bytes", image_bytes=sorted(contents))["probabilities"]
    by_pixels = ask(graph, "serving_default", images=test.x.astype(np.float32))["probabilities"]
    for answer in by_pixels:
        assert np.abs(by_file - answer).max(axis=1).min() <= 1e-5


@pytest.mark.long  # tests/keras/models/test_examples.py checks such a model
def test_a_file_of_texts_is_a_model(tmp_path: Path, forks: ForkServer) -> None:
    """Reviews as a CSV: about as good as the baseline; asked in any language, also with an empty text."""
    rows = [
        json.loads(line)
        for part in ("train", "test")
        for line in (files("modelyard.models.datasets") / "samples" / f"reviews_{part}.jsonl").read_text().splitlines()
    ]
    with (tmp_path / "reviews.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["text", "opinion", "number"])
        writer.writerows([row["text"], row["label"], number] for number, row in enumerate(rows))
    outcome = train(tmp_path, forks, [], "reviews", REVIEWS, epochs=1, min_steps=1, max_ngrams=5_000)
    assert {signature for signature, _ in list_warmed_up(tmp_path / "store" / "reviews" / "1")} == {"serving_default"}
    manifest = outcome.manifest
    assert (manifest.labels, manifest.task) == (("negative", "positive"), "binary")
    assert manifest.baseline
    assert manifest.metrics["accuracy"] >= manifest.baseline.value - 0.03
    served = tf.saved_model.load(str(tmp_path / "store" / "reviews" / "1"))
    answers = ask(served, "serving_default", text=["", "Das ist sehr schön!", rows[0]["text"]])
    assert np.isfinite(answers["probabilities"]).all()
