"""Pictures cut out of the two photographs that come with scikit-learn: a folder of them, one class for each."""

from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from sklearn.datasets import load_sample_images

CLASSES = ("flower", "temple")
PHOTOS = dict(zip(("temple", "flower"), map(Image.fromarray, load_sample_images().images), strict=True))


def cut_photos(name: str, count: int, seed: int = 0) -> list[Image.Image]:
    """Pieces of a photograph, each of its own place, size and shape."""
    generator, photo = np.random.default_rng(seed), PHOTOS[name]
    found = []
    for _ in range(count):
        width, height = generator.integers(60, 160, 2)
        left, top = generator.integers(0, photo.width - width), generator.integers(0, photo.height - height)
        found.append(photo.crop((left, top, left + width, top + height)))
    return found


def encode_image(image: Image.Image, form: str = "PNG", **options: Any) -> bytes:
    out = BytesIO()
    image.save(out, form, **options)
    return out.getvalue()


def write_photos(folder: Path, count: int) -> Path:
    """``count`` pieces of each photograph, PNG and JPEG in turn, some in folders below."""
    for name in CLASSES:
        for number, image in enumerate(cut_photos(name, count)):
            form = ("PNG", "JPEG")[number % 2]
            target = folder / name / ("more" if number % 3 == 0 else ".") / f"{number:03}.{form.lower()}"
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(encode_image(image, form))
    return folder
