"""The strongest simple method known for digits: histograms of gradients, and ridge regression with a Gaussian kernel.

Digits are set upright, and each is described by how strongly strokes run in eight directions in each of 7x7 places
(Dalal & Triggs 2005; for digits Maji & Malik 2009). The kernel is approximated by the similarity to some thousand
training images (Nyström: Williams & Seeger 2001), so that all of them can be learned from in one solved equation:
nothing is trained by steps, and nothing is augmented.
"""

from collections.abc import Iterator

import numpy as np

from modelyard.models.data import Splits
from modelyard.models.spec import Baseline
from modelyard.models.types import Array

METHOD = "kernel ridge regression on histograms of gradients"
LANDMARKS = 4_000
"""Training images that others are compared with."""
CLASSES = 10
DIRECTIONS = 8
CELL = 4
"""Pixels between the places where directions are counted; each reaches so far on either side."""
WIDTH = 2.0
"""Of the kernel: ``exp(-WIDTH * squared distance)``. It, as the ridge, was chosen on validation."""
RIDGE = 0.03
NOISE = 1e-5
"""Of the sums in single precision, as a share of their diagonal: below it nothing is learned from them."""
CHUNK = 5_000
"""Images at once, for the memory's sake."""


def measure_baseline(splits: Splits) -> Baseline:
    """Test accuracy; 40 seconds of a processor on MNIST, one on the sample."""
    features = describe(splits.train.x)
    chosen = np.random.default_rng(0).permutation(len(features))[:LANDMARKS]
    landmarks = features[chosen]
    weights = fit(features, splits.train.y, landmarks)
    received = np.argmax(compare(describe(splits.test.x), landmarks) @ weights, axis=1)
    return Baseline(METHOD, float(np.mean(received == splits.test.y)))


def fit(features: Array, classes: Array, landmarks: Array) -> Array:
    """``float32 [landmarks,classes]``: solves the regularised normal equations of one-against-all targets."""
    count = len(landmarks)
    products = RIDGE * compare(landmarks, landmarks).astype(np.float64)
    sums = np.zeros((count, CLASSES))
    for start in range(0, len(features), CHUNK):
        part = slice(start, start + CHUNK)
        similar = compare(features[part], landmarks)
        products += similar.T @ similar
        sums += similar.T @ (np.eye(CLASSES, dtype=np.float32)[classes[part]] - 1 / CLASSES)
    products[np.diag_indices(count)] += NOISE * np.trace(products) / count
    solved: Array = np.linalg.solve(products, sums)
    return solved.astype(np.float32)


def compare(features: Array, landmarks: Array) -> Array:
    """The kernel ``float32 [N,landmarks]`` of vectors of length 1."""
    similar: Array = np.exp(2 * WIDTH * (features @ landmarks.T - 1))
    return similar


def describe(images: Array) -> Array:
    """``uint8 [N,28,28,1]`` -> ``float32 [N,features]``, each of length 1."""
    return np.concatenate(list(_describe_chunks(images[..., 0])))


def _describe_chunks(images: Array) -> Iterator[Array]:
    for start in range(0, len(images), CHUNK):
        upright = set_upright(images[start : start + CHUNK].astype(np.float32) / 255)
        roots = np.sqrt(count_directions(upright).reshape(len(upright), -1))  # less weight to what is strong already
        yield roots / np.maximum(np.linalg.norm(roots, axis=1, keepdims=True), 1e-6)


def set_upright(images: Array) -> Array:
    """``float32 [N,H,W]`` sheared so that what is drawn does not lean, about the middle and its centre of mass."""
    _, height, width = images.shape
    rows, columns = np.arange(height, dtype=np.float32), np.arange(width, dtype=np.float32)
    by_row, by_column = images.sum(axis=2), images.sum(axis=1)
    mass = by_row.sum(axis=1) + 1e-6
    row, column = by_row @ rows / mass, by_column @ columns / mass
    covariance = (images @ columns) @ rows / mass - row * column
    lean = covariance / np.maximum(by_row @ rows**2 / mass - row**2, 1e-3)
    middle = (height - 1) / 2
    shift = lean[:, None] * (rows - middle) + (column - (width - 1) / 2)[:, None]
    source = columns + shift[:, :, None]
    left = np.floor(source).astype(np.int32)
    share = source - left
    padded = np.pad(images, ((0, 0), (0, 0), (1, 1)))
    first, second = (np.take_along_axis(padded, np.clip(left + k, 0, width + 1), axis=2) for k in (1, 2))
    sheared: Array = (first + share * (second - first)).astype(np.float32)
    return sheared


def count_directions(images: Array) -> Array:
    """``float32 [N,places,places,DIRECTIONS]``: strength of the gradients by direction, shared by neighbours."""
    down, right = np.zeros_like(images), np.zeros_like(images)
    down[:, 1:-1] = images[:, 2:] - images[:, :-2]
    right[:, :, 1:-1] = images[:, :, 2:] - images[:, :, :-2]
    strength = np.hypot(down, right)
    turn = np.arctan2(down, right) / (2 * np.pi) % 1 * DIRECTIONS
    windows = make_windows(images.shape[1])
    counted = []
    for direction in range(DIRECTIONS):
        distance = np.abs((turn - direction + DIRECTIONS / 2) % DIRECTIONS - DIRECTIONS / 2)
        counted.append(windows @ (strength * np.maximum(0, 1 - distance)) @ windows.T)
    return np.stack(counted, axis=-1)


def make_windows(size: int) -> Array:
    """``float32 [places,size]``: triangles that overlap, around places that are ``CELL`` pixels apart."""
    places = size // CELL
    centres = np.arange(places) * CELL + (size - 1 - (places - 1) * CELL) / 2
    windows: Array = np.maximum(0, 1 - np.abs(np.arange(size) - centres[:, None]) / CELL)
    return windows.astype(np.float32)
