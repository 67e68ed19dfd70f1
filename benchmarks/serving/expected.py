"""``python -m benchmarks.serving.expected STORE``: the inputs of the benchmark and what the SavedModels answer to them.

In a process of its own, so that no TensorFlow is in the one that measures. Images are the version's golden ones in
whole grey values; reviews are the shipped sample's short ones, put together to 200 words.
"""

import base64
import io
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from benchmarks.serving.peers.loaded import newest
from modelyard.models.datasets import imdb
from modelyard.pipeline.golden import load_golden

COUNT = 16
WORDS = 200


def main(store: Path) -> dict[str, Any]:
    """Inputs and outputs by workload."""
    import tensorflow as tf

    folders = {name: newest(store, name) for name in ("mnist_cnn", "sentiment_lstm")}
    loaded = {name: tf.saved_model.load(str(folder)) for name, folder in folders.items()}
    digits, reviews = (loaded[name].signatures for name in folders)
    images = np.rint(load_golden(folders["mnist_cnn"])["serving_default/images"][:COUNT]).astype(np.uint8)
    files = [png(image[..., 0]) for image in images]
    texts = [review(number) for number in range(COUNT)]
    encoded = [base64.b64encode(content).decode() for content in files]
    return {
        "mnist_json": {
            "inputs": images.tolist(),
            "expected": rows(digits["serving_default"], tf.constant(images, tf.float32)),
        },
        "mnist_png": {"inputs": encoded, "expected": rows(digits["image_bytes"], tf.constant(files))},
        "sentiment": {"inputs": texts, "expected": rows(reviews["serving_default"], tf.constant(texts))},
    }


def rows(call: Any, batch: Any) -> list[dict[str, Any]]:
    """The model's output for each input, alone in its batch."""
    ((name, _),) = call.structured_input_signature[1].items()
    found = [call(**{name: batch[number : number + 1]}) for number in range(len(batch))]
    return [
        {"probabilities": each["probabilities"].numpy()[0].tolist(), "class_id": int(each["class_id"].numpy()[0])}
        for each in found
    ]


def png(grey: Any) -> bytes:
    content = io.BytesIO()
    Image.fromarray(grey).save(content, "PNG")
    return content.getvalue()


def review(number: int) -> str:
    """200 words, another 200 for each number."""
    return " ".join(word for word, _ in zip(words(number * 20), range(WORDS), strict=False))


def words(first: int) -> Iterator[str]:
    texts = imdb.sample().test.x
    for number in range(len(texts)):
        yield from str(texts[(first + number) % len(texts)]).split()


if __name__ == "__main__":
    print(json.dumps(main(Path(sys.argv[1]))))
