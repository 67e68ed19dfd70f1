"""Pictures that are no digit. Each is drawn at a random size, in black on white or in white on black."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from benchmarks.robustness import drawing, sources
from benchmarks.robustness.drawing import BLACK, WHITE, read_ink
from benchmarks.robustness.kinds import OtherKind, Random, pick
from modelyard.models.types import Array

LETTERS = "ACEFHKMNPRUVWX" + "acdefhkmnprtuvwx"
"""Without those that some hand writes like a digit: O o Q D (0), I i L l J j (1), Z z (2), S s (5), G b (6), T (7),
B (8), g q (9), Y y (4)."""
FOREIGN = "ΓΔΘΛΞΠΣΨΩαδλπφωЖИЛФЦЮЯжшю"
SYMBOLS = "#@&%?+=*$€<>^→←↑↓★♥☺✓✗△□♪"
SIZES = (28, 56, 112, 280)


def _blank(random: Random, _: Sequence[Array]) -> bytes:
    """White, black, any grey, any colour, or nothing at all."""
    size = pick(random, SIZES)
    if random.random() < 0.2:
        return drawing.png_with_alpha(np.zeros((size, size), np.float32), BLACK)
    grey, colour = (random.uniform(0, 255),) * 3, random.uniform(0, 255, 3).tolist()
    return drawing.png(drawing.fill(pick(random, (WHITE, BLACK, grey, colour)), size))


def _noise(random: Random, _: Sequence[Array]) -> bytes:
    """Normal, even, black and white, or in patches; grey or in colour."""
    size = pick(random, (28, 56, 112))
    channels = pick(random, (1, 3))
    shape = (size, size, channels)
    which = random.integers(4)
    values: Array
    if which == 0:
        values = random.normal(random.uniform(60, 190), random.uniform(20, 90), shape)
    elif which == 1:
        values = random.uniform(0, 255, shape)
    elif which == 2:
        values = 255.0 * (random.random(shape) < random.uniform(0.05, 0.95))
    else:
        small = random.uniform(0, 255, (7, 7, channels)).astype(np.float32)
        layers = [drawing.resize(small[..., each] / 255, size) * 255 for each in range(channels)]
        values = np.stack(layers, axis=-1)
    return drawing.png(np.broadcast_to(values, (size, size, 3)).astype(np.float32))


def _photograph(random: Random, _: Sequence[Array]) -> bytes:
    """A square piece of a photograph, at least 64 px of it."""
    photograph = pick(random, sources.read_photographs())
    side = int(random.integers(64, min(photograph.shape[:2]) + 1))
    top, left = (int(random.integers(0, whole - side + 1)) for whole in photograph.shape[:2])
    piece = Image.fromarray(photograph[top : top + side, left : left + side])
    size = pick(random, (28, 112, 224))
    return drawing.jpeg(np.asarray(piece.resize((size, size), Image.Resampling.LANCZOS), np.float32))


def _two_digits(random: Random, digits: Sequence[Array]) -> bytes:
    """Side by side, up to 4 px closer than their frames; squeezed into 28 px or as wide as they are."""
    first, second = (read_ink(pick(random, digits)) for _ in range(2))
    width = 56 - int(random.integers(4, 13))
    pair = np.maximum(drawing.place(first, 28, width, 0, 0), drawing.place(second, 28, width, 0, width - 28))
    which = random.integers(3)
    if which == 0:
        pair = drawing.centre(drawing.resize(pair, 28 * 28 // width, 28), 28)
    elif which == 1:
        pair = drawing.resize(pair, 112, 4 * width)
    return _either(random, pair)


def _write(random: Random, characters: str) -> bytes:
    return _either(random, draw_character(pick(random, characters), pick(random, sources.list_fonts()), random))


def draw_character(character: str, font: Path | None, random: Random) -> Array:
    """Ink of one character in the middle of a sheet, its height 45 to 75 % of it."""
    size = pick(random, SIZES[:3])
    canvas = Image.new("L", (256, 256))
    ImageDraw.Draw(canvas).text((128, 128), character, 255, sources.load_font(font, 120), anchor="mm")
    box = canvas.getbbox() or (0, 0, 256, 256)
    glyph = np.asarray(canvas.crop(box), np.float32) / 255
    scale = random.uniform(0.45, 0.75) * size / max(glyph.shape)
    height, width = (max(int(side * scale), 1) for side in glyph.shape)
    shrunk = Image.fromarray(np.rint(glyph * 255).astype(np.uint8)).resize((width, height), Image.Resampling.LANCZOS)
    return drawing.centre(np.asarray(shrunk, np.float32) / 255, size)


def _symbol(random: Random, _: Sequence[Array]) -> bytes:
    """In DejaVu Sans, which has them all, where it is there."""
    font = next((font for font in sources.list_fonts() if font and font.stem == "DejaVuSans"), None)
    return _either(random, draw_character(pick(random, SYMBOLS), font, random))


def _foreign(random: Random, _: Sequence[Array]) -> bytes:
    font = next((font for font in sources.list_fonts() if font and font.stem == "DejaVuSans"), None)
    return _either(random, draw_character(pick(random, FOREIGN), font, random))


def _scribble(random: Random, _: Sequence[Array]) -> bytes:
    """A line that wanders through 12 to 30 points, to and fro."""
    points = random.uniform(24, 200, (int(random.integers(12, 31)), 2))
    canvas = Image.new("L", (224, 224))
    steps = np.linspace(0, len(points) - 1, 20 * len(points))
    smooth = np.stack([np.interp(steps, np.arange(len(points)), points[:, axis]) for axis in (0, 1)], axis=1)
    kernel = np.ones(15) / 15
    line = np.stack([np.convolve(smooth[:, axis], kernel, mode="valid") for axis in (0, 1)], axis=1)
    ImageDraw.Draw(canvas).line([tuple(point) for point in line], 255, int(random.integers(5, 16)), joint="curve")
    size = pick(random, SIZES[:3])
    return _either(random, drawing.resize(np.asarray(canvas, np.float32) / 255, size))


def _texture(random: Random, _: Sequence[Array]) -> bytes:
    """Stripes, checks, dots or a gradient."""
    size = pick(random, SIZES[:3])
    rows, columns = np.mgrid[0:size, 0:size] / size
    cycles, angle, phase = random.uniform(2, 8), random.uniform(0, np.pi), random.uniform(0, 2 * np.pi)
    along = np.cos(angle) * rows + np.sin(angle) * columns
    across = np.cos(angle) * columns - np.sin(angle) * rows
    waves = [np.sin(2 * np.pi * cycles * each + phase) for each in (along, across)]
    patterns = (waves[0] > 0, waves[0] * waves[1] > 0, (waves[0] > 0.5) & (waves[1] > 0.5), along)
    chosen = np.asarray(patterns[random.integers(len(patterns))], np.float32)
    low, high = chosen.min(), chosen.max()
    return _either(random, (chosen - low) / max(high - low, 1e-6))


def _either(random: Random, ink: Array) -> bytes:
    colours = (BLACK, WHITE) if random.random() < 0.5 else (WHITE, BLACK)
    return drawing.png(drawing.draw(ink, *colours))


OTHERS = (
    OtherKind("blank", "one colour, or nothing at all", _blank),
    OtherKind("noise only", "normal, even, black and white, in patches", _noise),
    OtherKind("photographs", "square pieces of photographs", _photograph),
    OtherKind("two digits", "side by side", _two_digits),
    OtherKind("letters", f"of several fonts: {LETTERS}", lambda random, _: _write(random, LETTERS)),
    OtherKind("foreign letters", FOREIGN, _foreign),
    OtherKind("symbols", f"such as {SYMBOLS[:8]}", _symbol),
    OtherKind("scribbles", "a line to and fro", _scribble),
    OtherKind("textures", "stripes, checks, dots, gradients", _texture),
)
