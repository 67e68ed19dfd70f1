"""MNIST, 70,000 handwritten digits (LeCun, Cortes & Burges, http://yann.lecun.com/exdb/mnist/): which digit is it?"""

import hashlib
import io
import struct
import zipfile
import zlib
from pathlib import Path

import numpy as np

from modelyard.models.data import Dataset, RemoteFile, Split, Splits
from modelyard.models.errors import CorruptData
from modelyard.models.types import Array

ARCHIVE = "mnist.npz"
LABELS = tuple("0123456789")
SIZE = 28
"""Height and width of an image in pixels."""
VALIDATION_IMAGES = 5_000
"""Held out of the 60,000 training images."""

_IDX_MD5 = {
    "x_train": "6bbc9ace898e44ae57da46a324031adb",
    "y_train": "a25bea736e30d166cdddb491f175f624",
    "x_test": "2646ac647ad5339dbf082846283269ea",
    "y_test": "27ae3e4e09519cfbb04c329615203637",
}
"""MD5 of the published files (train-images-idx3-ubyte, ...) after decompression."""
_IDX_UNSIGNED_BYTES = 0x08
_SPLIT_SEED = 19981109
_UNREADABLE = (zipfile.BadZipFile, zlib.error, struct.error, EOFError, KeyError, RuntimeError, ValueError)
"""What numpy and zipfile raise for a file that is not a sound archive of these arrays, pickled objects included."""


def read(folder: Path) -> Splits:
    """The official 60,000 + 10,000 images in the published order; a fixed random part of the former is held out.

    Raises:
        CorruptData: the archive is truncated, not an archive, or its arrays are not the published ones.
        FileNotFoundError: there is no such file in ``folder``.
    """
    arrays = _read_arrays(folder / ARCHIVE)
    for name, expected in _IDX_MD5.items():
        received = hash_idx(arrays[name])
        if received != expected:
            raise CorruptData(f"{ARCHIVE}: expected {name} with idx MD5 {expected}, received {received}")
    labelled = _split(arrays["x_train"], arrays["y_train"])
    train, validation = hold_out(labelled, VALIDATION_IMAGES)
    return Splits(train=train, validation=validation, test=_split(arrays["x_test"], arrays["y_test"]))


def sample() -> Splits:
    """The 1,797 digits that come with scikit-learn, drawn like MNIST's: 1,257 + 180 + 360 images.

    Source: the test part of https://archive.ics.uci.edu/dataset/80 (Alpaydin & Kaynak 1998). Every part holds each
    digit in the same share.
    """
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    x, y = load_digits(return_X_y=True)
    images = resize_like_mnist(x.reshape(-1, 8, 8))
    rest, test = train_test_split(np.arange(len(y)), test_size=360, stratify=y, random_state=_SPLIT_SEED)
    train, validation = train_test_split(rest, test_size=180, stratify=y[rest], random_state=_SPLIT_SEED)
    return Splits(
        train=_split(images[train], y[train]),
        validation=_split(images[validation], y[validation]),
        test=_split(images[test], y[test]),
    )


def hold_out(split: Split, count: int) -> tuple[Split, Split]:
    """``(rest, held out)``: ``count`` random examples, always the same ones, go to the second; order is kept."""
    chosen = np.zeros(len(split), bool)
    chosen[np.random.default_rng(_SPLIT_SEED).permutation(len(split))[:count]] = True
    return Split(split.x[~chosen], split.y[~chosen]), Split(split.x[chosen], split.y[chosen])


def resize_like_mnist(digits: Array) -> Array:
    """``[N,8,8]`` with values 0..16 -> ``uint8 [N,28,28]``, 0..255, the way that MNIST was made from its scans.

    Resized (bilinear) to a box of 20 pixels, which is put so that the centre of mass lies in the middle of the image.
    """
    box = 20
    enlarge = _bilinear(digits.shape[1], box)
    drawn = np.rint(enlarge @ digits @ enlarge.T * (255 / 16)).astype(np.uint8)
    images = np.zeros((len(drawn), SIZE, SIZE), np.uint8)
    for image, digit in zip(images, drawn, strict=True):
        top, left = (_start(digit.sum(axis), box) for axis in (1, 0))
        image[top : top + box, left : left + box] = digit
    return images


def _start(mass: Array, box: int) -> int:
    """Where a box starts along a side of the image, for its ``mass`` ``[box]`` to be balanced about the middle."""
    centre = np.average(np.arange(box), weights=mass)
    return int(np.clip(np.rint((SIZE - 1) / 2 - centre), 0, SIZE - box))


def hash_idx(array: Array) -> str:
    """MD5 of ``uint8`` data as an idx file: zero, zero, type, rank, each dimension big-endian, the bytes."""
    header = struct.pack(f">HBB{array.ndim}I", 0, _IDX_UNSIGNED_BYTES, array.ndim, *array.shape)
    return hashlib.md5(header + array.tobytes(), usedforsecurity=False).hexdigest()


def _read_arrays(path: Path) -> dict[str, Array]:
    content = path.read_bytes()
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            return {name: _read_array(archive, f"{name}.npy") for name in _IDX_MD5}
    except _UNREADABLE as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise CorruptData(
            f"{ARCHIVE}: expected arrays {', '.join(_IDX_MD5)}; received a damaged file: {reason}"
        ) from None


def _read_array(archive: zipfile.ZipFile, name: str) -> Array:
    with archive.open(name) as file:
        return np.asarray(np.lib.format.read_array(file, allow_pickle=False))


def _bilinear(size: int, new_size: int) -> Array:
    """``float64 [new_size,size]``: resizes a line of pixels by linear interpolation between their centres."""
    centres = np.clip((np.arange(new_size) + 0.5) * size / new_size - 0.5, 0, size - 1)
    weights: Array = np.maximum(0, 1 - np.abs(centres[:, None] - np.arange(size)))
    return weights


def _split(images: Array, labels: Array) -> Split:
    return Split(images[..., None], labels.astype(np.int32))


MNIST = Dataset(
    name="mnist",
    homepage="http://yann.lecun.com/exdb/mnist/",
    files=(
        RemoteFile(
            ARCHIVE,
            (
                "https://storage.googleapis.com/tensorflow/tf-keras-datasets/mnist.npz",
                "https://s3.amazonaws.com/img-datasets/mnist.npz",
            ),
        ),
    ),
    read=read,
    sample=sample,
    sample_name="scikit-learn digits",
)
