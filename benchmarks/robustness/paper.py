"""What paper, light and cameras do to a picture ``float32 [H,W,3]`` in 0..255."""

import numpy as np
from PIL import Image

from benchmarks.robustness.drawing import to_image
from benchmarks.robustness.kinds import Random
from modelyard.models.types import Array


def rule(size: int, random: Random, *, squared: bool) -> Array:
    """White paper with light blue lines, an eighth of its size apart."""
    sheet = np.full((size, size, 3), 252, np.float32)
    gap = size // 8
    lines = np.arange(int(random.integers(0, gap)), size, gap)
    sheet[lines] = (188, 208, 232)
    if squared:
        sheet[:, lines] = (188, 208, 232)
    return sheet


def shade(picture: Array, random: Random, depth: float) -> Array:
    """Light that falls off by ``depth`` from one side, at any angle, to the other."""
    height, width = picture.shape[:2]
    angle = random.uniform(0, 2 * np.pi)
    rows, columns = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]
    along = np.cos(angle) * rows + np.sin(angle) * columns
    share = (along - along.min()) / (along.max() - along.min())
    shaded: Array = picture * (1 - depth * share[..., None]).astype(np.float32)
    return shaded


def cast_shadow(picture: Array, random: Random) -> Array:
    """A shadow of 45 % with a soft edge through the middle third, at any angle."""
    height, width = picture.shape[:2]
    angle, offset = random.uniform(0, 2 * np.pi), random.uniform(-0.33, 0.33)
    rows, columns = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]
    along = np.cos(angle) * rows + np.sin(angle) * columns - offset
    share = 1 / (1 + np.exp(-along / 0.05))
    shaded: Array = picture * (1 - 0.45 * share[..., None]).astype(np.float32)
    return shaded


def tilt(picture: Array, random: Random, most: float) -> Array:
    """Seen at an angle: each corner moves inwards or outwards by up to a share ``most`` of the side."""
    height, width = picture.shape[:2]
    corners = np.array([(0, 0), (width, 0), (width, height), (0, height)], np.float64)
    moved = corners + random.uniform(-most, most, (4, 2)) * (width, height)
    image = to_image(picture)
    paper = tuple(int(each) for each in np.median(picture.reshape(-1, 3), axis=0))
    seen = image.transform(
        image.size, Image.Transform.PERSPECTIVE, _solve(corners, moved), Image.Resampling.BICUBIC, fillcolor=paper
    )
    return np.asarray(seen, np.float32)


def _solve(to: Array, source: Array) -> list[float]:
    """The eight numbers of the perspective that takes the points ``to`` from ``source``, as Pillow wants them."""
    rows = []
    for (x, y), (u, v) in zip(to, source, strict=True):
        rows += [[x, y, 1, 0, 0, 0, -u * x, -u * y], [0, 0, 0, x, y, 1, -v * x, -v * y]]
    solved: list[float] = np.linalg.solve(np.array(rows), source.reshape(-1)).tolist()
    return solved
