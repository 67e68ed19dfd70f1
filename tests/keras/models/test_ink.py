"""Drawn strokes are normalised however they were drawn and taken: the same digits in every kind of picture."""

from collections.abc import Callable
from io import BytesIO
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageFilter

from modelyard.models.datasets.mnist import sample
from modelyard.models.images.decoding import compile_image_decoder
from modelyard.models.images.ink_placing import normalise_ink
from modelyard.models.inputs import ImageInput, Ink
from modelyard.models.types import Array

KIND = ImageInput(28, 28, ink=Ink())
DIGITS: Array = sample().test.x[:20]
"""Light on black, 20 pixels, in the middle: ``uint8 [20,28,28,1]``."""
Picture = Callable[[Array], bytes]


def normalise(files: list[bytes]) -> Array:
    return compile_image_decoder(KIND)(files).astype(np.float32)


def encode(pixels: Array, form: str = "PNG", **options: Any) -> bytes:
    out = BytesIO()
    Image.fromarray(np.clip(np.rint(pixels), 0, 255).astype(np.uint8)).save(out, form, **options)
    return out.getvalue()


def enlarge(digit: Array, size: int = 140) -> Array:
    """How much of each pixel is ink, ``float32 [size,size]``, 0..1."""
    large = Image.fromarray(digit[..., 0]).resize((size, size), Image.Resampling.BICUBIC)
    return np.asarray(large, np.float32) / 255


def put(ink: Array, height: int, width: int, top: int, left: int) -> Array:
    canvas = np.zeros((height, width), np.float32)
    canvas[top : top + len(ink), left : left + ink.shape[1]] = ink
    return canvas


def paint(ink: Array, colour: Any, paper: Any) -> Array:
    share = ink[..., None]
    painted: Array = share * np.array(colour, np.float32) + (1 - share) * np.array(paper, np.float32)
    return painted


def on_glass(ink: Array, colour: tuple[int, int, int]) -> Array:
    """Ink on nothing: transparent but for the strokes."""
    return np.concatenate([np.full((*ink.shape, 3), colour, np.float32), 255 * ink[..., None]], axis=-1)


def light(height: int, width: int, least: float) -> Array:
    """Light that falls off to the lower right."""
    rows, columns = np.mgrid[0 : 1 : height * 1j, 0 : 1 : width * 1j]
    falling: Array = (1 - (1 - least) * (rows + columns) / 2)[..., None]
    return falling


def rule(paper: Array, every: int) -> Array:
    ruled = paper.copy()
    ruled[every // 2 :: every] = np.minimum(ruled[every // 2 :: every], (150, 175, 215))
    return ruled


def frame(picture: Array, width: int) -> Array:
    framed = np.zeros_like(picture)
    framed[width:-width, width:-width] = picture[width:-width, width:-width]
    return framed


def add_bars(picture: Array) -> Array:
    """Letterboxed, as a screen records a video."""
    return np.pad(picture, ((40, 40), (0, 0), (0, 0)))


def shade_corner(picture: Array) -> Array:
    """A hard shadow through the picture."""
    rows, columns = np.mgrid[0 : 1 : picture.shape[0] * 1j, 0 : 1 : picture.shape[1] * 1j]
    return picture * np.where(rows + 0.3 * columns > 0.6, 0.55, 1.0)[..., None]


def turn(picture: Array) -> bytes:
    """Stored turned, with the orientation that undoes it."""
    exif = Image.Exif()
    exif[0x0112] = 6
    return encode(np.rot90(picture), "JPEG", quality=90, exif=exif)


BLACK, WHITE = (0, 0, 0), (255, 255, 255)
PICTURES: dict[str, Picture] = {
    "light on black": lambda digit: encode(255 * enlarge(digit)),
    "black on white": lambda digit: encode(255 - digit[..., 0]),
    "black on white, large": lambda digit: encode(255 - 255 * enlarge(digit, 280)),
    "black on glass": lambda digit: encode(on_glass(enlarge(digit), BLACK)),
    "white on glass": lambda digit: encode(on_glass(enlarge(digit), WHITE)),
    "red on glass": lambda digit: encode(on_glass(enlarge(digit), (200, 30, 30))),
    "blue on white": lambda digit: encode(paint(enlarge(digit), (30, 60, 200), WHITE)),
    "chalk on a board": lambda digit: encode(paint(enlarge(digit), (235, 235, 225), (40, 90, 60))),
    "red on a green as light": lambda digit: encode(paint(enlarge(digit), (200, 70, 60), (70, 131, 60))),
    "dark canvas": lambda digit: encode(paint(enlarge(digit), (220, 220, 230), (34, 34, 40))),
    "pencil": lambda digit: encode(paint(enlarge(digit), (190, 190, 190), (240, 240, 236))),
    "in a corner": lambda digit: encode(255 - 255 * put(enlarge(digit, 56), 168, 168, 112, 0)),
    "small on a large sheet": lambda digit: encode(255 - 255 * put(enlarge(digit, 90), 700, 900, 100, 500)),
    "wide": lambda digit: encode(255 - 255 * put(enlarge(digit, 90), 120, 400, 15, 200)),
    "turned by EXIF": lambda digit: turn(paint(enlarge(digit), BLACK, WHITE)),
    "light falling off": lambda digit: encode(paint(enlarge(digit), (30, 30, 40), WHITE) * light(140, 140, 0.4)),
    "shadow": lambda digit: encode(shade_corner(paint(enlarge(digit), (30, 30, 40), (240, 240, 230)))),
    "ruled": lambda digit: encode(rule(paint(enlarge(digit), (30, 30, 80), (250, 250, 245)), 20)),
    "framed": lambda digit: encode(frame(paint(enlarge(digit), BLACK, WHITE), 4)),
    "letterboxed": lambda digit: encode(add_bars(paint(enlarge(digit), BLACK, (240, 240, 240)))),
    "poor JPEG": lambda digit: encode(255 - 255 * enlarge(digit), "JPEG", quality=10),
}


@pytest.fixture(scope="module")
def upright() -> Array:
    """The digits as the normalisation makes them of plain, large pictures."""
    return normalise([PICTURES["light on black"](digit) for digit in DIGITS])


def measure_gap(found: Array, expected: Array) -> Array:
    """``float32 [N]``: share of the ink that lies elsewhere."""
    gap: Array = np.abs(found - expected).sum(axis=(1, 2, 3)) / (2 * expected.sum(axis=(1, 2, 3)))
    return gap


def test_normal_image_is_left_as_it_is() -> None:
    """To the level, as the float signature has it."""
    np.testing.assert_array_equal(normalise([encode(digit[..., 0]) for digit in DIGITS]), DIGITS)


@pytest.mark.parametrize("name", PICTURES)
def test_picture_becomes_the_same_digit(name: str, upright: Array) -> None:
    """Light on black, 20 pixels, its mass in the middle, and a small share of the ink elsewhere than in a plain one."""
    found = normalise([PICTURES[name](digit) for digit in DIGITS])
    gap = measure_gap(found, upright)
    assert np.median(gap) < 0.12
    assert gap.max() < 0.3
    for image in found[..., 0]:
        rows, columns = (np.flatnonzero(image.max(axis=axis) > 40) for axis in (1, 0))
        assert abs(max(np.ptp(rows), np.ptp(columns)) + 1 - 20) <= 3
        mass = image / image.sum()
        for axis in (0, 1):
            assert abs(mass.sum(axis=1 - axis) @ np.arange(28) - 13.5) < 0.6


@pytest.mark.parametrize("kind", ["noise", "salt and pepper"])
def test_noise_neither_moves_nor_shrinks_a_digit(kind: str, upright: Array) -> None:
    """Once smoothed, most of the ink lies where it would without."""
    random = np.random.default_rng(0)
    files = []
    for digit in DIGITS:
        drawn = random.random(digit.shape)
        specked = np.where(drawn < 0.05, 0, np.where(drawn > 0.95, 255, digit))
        noisy = digit + random.normal(0, 60, digit.shape) if kind == "noise" else specked
        files.append(encode(noisy[..., 0]))
    found, plain = (np.stack([smooth(image) for image in images]) for images in (normalise(files), upright))
    assert np.median(measure_gap(found, plain)) < 0.2


def smooth(image: Array) -> Array:
    blurred = Image.fromarray(image[..., 0].astype(np.uint8)).filter(ImageFilter.GaussianBlur(1))
    return np.asarray(blurred, np.float32)[..., None]


@pytest.mark.parametrize("level", [0, 128, 255])
@pytest.mark.parametrize("size", [28, 90])
def test_blank_picture_is_black(level: int, size: int) -> None:
    assert not normalise([encode(np.full((size, size), level))]).any()


def test_transparent_picture_without_ink_is_black() -> None:
    assert not normalise([encode(np.zeros((60, 60, 4)))]).any()


@pytest.fixture(scope="module")
def sent() -> tuple[list[bytes], Array]:
    """Files of every kind, every seventh in the normal form; and what each is alone."""
    drawn = [picture(digit) for digit in DIGITS[:4] for picture in PICTURES.values()]
    files = [encode(DIGITS[place % 20, ..., 0]) if place % 7 == 0 else file for place, file in enumerate(drawn)]
    return files, np.concatenate([normalise([file]) for file in files])


@pytest.mark.parametrize("size", [2, 7, 32, 64])
def test_pictures_of_a_batch_do_not_depend_on_each_other(size: int, sent: tuple[list[bytes], Array]) -> None:
    """Whatever it comes with, each is to the level what it is alone: a millionth decides about a level."""
    files, alone = sent
    found = [normalise(files[first : first + size]) for first in range(0, len(files), size)]
    np.testing.assert_array_equal(np.concatenate(found), alone)


def test_normal_images_are_left_as_they_are_beside_others(sent: tuple[list[bytes], Array]) -> None:
    normal = np.arange(0, len(sent[0]), 7)
    np.testing.assert_array_equal(normalise(sent[0])[normal], DIGITS[normal % 20])


LARGE = ImageInput(48, 40, ink=Ink(size=30))


def normalise_pixels(picture: Array) -> Array:
    """A square picture in grey, without a file."""
    size = np.array([picture.shape], np.float32)
    found: Array = normalise_ink(picture[None, ..., None].astype(np.float32), size, LARGE).numpy()
    return found


@pytest.mark.parametrize(
    "decode",
    [
        normalise_pixels,
        pytest.param(lambda picture: compile_image_decoder(LARGE)([encode(picture)]), marks=pytest.mark.long),
    ],
    ids=["pixels", "file"],
)
def test_other_size_of_image_and_ink_is_kept(decode: Callable[[Array], Array]) -> None:
    """Of a model with larger images."""
    found = decode(255 - 255 * enlarge(DIGITS[0], 128))[0, ..., 0]
    rows, columns = (np.flatnonzero(found.max(axis=axis) > 40) for axis in (1, 0))
    assert found.shape == (48, 40)
    assert abs(max(np.ptp(rows), np.ptp(columns)) + 1 - 30) <= 2


def test_light_that_falls_off_is_no_ink() -> None:
    """Linear and round, steep and faint, on small and large pictures: black, as where nothing was drawn."""
    rows, columns = np.mgrid[0:1:112j, 0:1:112j]
    slopes = [columns, rows, (rows + columns) / 2, 1 - columns, np.hypot(rows - 0.1, columns - 0.2) / 1.3]
    files = [encode(low + (high - low) * slope) for slope in slopes for low, high in ((0, 255), (120, 190))]
    files += [encode(255 * columns[::4, ::4]), encode(255 * paint(columns, (1, 0.9, 0.8), (0.2, 0, 0)))]
    assert not normalise(files).any(axis=(1, 2, 3)).any()


@pytest.mark.parametrize("quality", [80, 88, 75])
def test_small_ink_in_a_large_jpeg_is_read_at_any_quality(quality: int) -> None:
    """Numbers of its tables stand where a PNG file has its colour type."""
    sheet = np.full((800, 800), 255, np.uint8)
    sheet[380:420, 398:403] = 0
    found = normalise([encode(sheet, "JPEG", quality=quality)]).reshape(28, 28)
    rows, columns = np.nonzero(found > 100)
    assert np.ptp(rows) >= 15
    assert np.ptp(columns) <= 5
