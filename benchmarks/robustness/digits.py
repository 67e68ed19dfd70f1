"""Digits as people send them: other paper, other ink, other places and sizes, other files, worse cameras."""

from collections.abc import Sequence

import numpy as np
from PIL import Image

from benchmarks.robustness import drawing, paper
from benchmarks.robustness.drawing import BLACK, WHITE, read_ink
from benchmarks.robustness.kinds import DigitKind, Draw, Random
from modelyard.models.types import Array

DARK, LIGHT = (30.0, 30.0, 30.0), (235.0, 235.0, 235.0)
BLUE, RED, PENCIL = (25.0, 60.0, 190.0), (190.0, 25.0, 35.0), (110.0, 110.0, 112.0)
CHALK, BOARD = (236.0, 238.0, 228.0), (38.0, 92.0, 62.0)
GREY, YELLOW = (178.0, 178.0, 176.0), (246.0, 232.0, 178.0)


def _as_it_is(image: Array, _: Random) -> bytes:
    return drawing.png(drawing.draw(read_ink(image), WHITE, BLACK))


def _black_on_white(image: Array, size: int) -> bytes:
    return drawing.png(drawing.draw(drawing.resize(read_ink(image), size)))


def _moved(image: Array, random: Random) -> bytes:
    down, right = random.choice([-4, 4], 2).tolist()
    return drawing.png(drawing.draw(drawing.place(read_ink(image), 28, 28, down, right), WHITE, BLACK))


def _half(image: Array, _: Random) -> bytes:
    small = drawing.resize(read_ink(image), 14)
    return drawing.png(drawing.draw(drawing.centre(small, 28), WHITE, BLACK))


def _in_canvas(image: Array, _: Random) -> bytes:
    return drawing.png(drawing.draw(drawing.centre(read_ink(image), 112), WHITE, BLACK))


def _in_corner(image: Array, random: Random) -> bytes:
    """72 px of 400x300, close to one of the corners."""
    digit = drawing.resize(read_ink(image), 72)
    top, left = (int(random.choice([0, side - 72])) for side in (300, 400))
    return drawing.png(drawing.draw(drawing.place(digit, 300, 400, top, left)))


def _wide(image: Array, random: Random) -> bytes:
    digit = drawing.resize(read_ink(image), 140)
    return drawing.png(drawing.draw(drawing.place(digit, 160, 480, 10, int(random.integers(0, 341)))))


def _turned(image: Array, random: Random, degrees: float) -> bytes:
    turned = drawing.turn(read_ink(image), float(random.choice([-degrees, degrees])))
    return drawing.png(drawing.draw(turned, WHITE, BLACK))


def _noisy(image: Array, random: Random, deviation: float) -> bytes:
    grey = image + random.normal(0, deviation, image.shape)
    return drawing.png(np.repeat(grey[..., None], 3, axis=-1))


def _speckled(image: Array, random: Random) -> bytes:
    """A tenth of the pixels, half of them white, half black."""
    drawn = random.random(image.shape)
    grey = np.where(drawn < 0.05, 0, np.where(drawn > 0.95, 255, image)).astype(np.float32)
    return drawing.png(np.repeat(grey[..., None], 3, axis=-1))


def _blurred(image: Array, _: Random) -> bytes:
    return drawing.png(drawing.draw(drawing.blur(read_ink(image), 1.5), WHITE, BLACK))


def _pen(image: Array, pixels: int) -> bytes:
    """At four times the size, where a stroke of MNIST is about 10 px wide."""
    return drawing.png(drawing.draw(drawing.thicken(drawing.resize(read_ink(image), 112), pixels)))


def _marker(image: Array, _: Random) -> bytes:
    """A canvas's line: of one width and hard edges."""
    sharp = (drawing.resize(read_ink(image), 200) > 0.5).astype(np.float32)
    return drawing.png(drawing.draw(sharp))


def _ruled(image: Array, random: Random, *, squared: bool) -> bytes:
    digit = drawing.resize(read_ink(image), 160)
    sheet = paper.rule(200, random, squared=squared)
    return drawing.png(drawing.lay(drawing.centre(digit, 200), BLUE, sheet))


def _shaded(image: Array, random: Random) -> bytes:
    digit = drawing.centre(drawing.resize(read_ink(image), 160), 200)
    return drawing.jpeg(paper.shade(drawing.draw(digit, (40.0, 40.0, 48.0), (240.0, 238.0, 230.0)), random, 0.5))


def _in_shadow(image: Array, random: Random) -> bytes:
    digit = drawing.centre(drawing.resize(read_ink(image), 160), 200)
    return drawing.jpeg(paper.cast_shadow(drawing.draw(digit, (30.0, 30.0, 36.0), (236.0, 234.0, 228.0)), random))


def _photo(image: Array, random: Random) -> bytes:
    """Paper seen at an angle, unevenly lit, a little blurred, with the camera's noise, as a JPEG."""
    digit = drawing.centre(drawing.resize(read_ink(image), 150), 240)
    sheet = drawing.fill((233.0, 230.0, 222.0), 240) + random.normal(0, 2.5, (240, 240, 1))
    seen = paper.tilt(drawing.lay(digit, (45.0, 48.0, 70.0), sheet.astype(np.float32)), random, 0.12)
    lit = paper.shade(seen, random, 0.35) + random.normal(0, 6, seen.shape)
    blurred = drawing.to_image(lit).resize((160, 160), Image.Resampling.BILINEAR)
    return drawing.jpeg(np.asarray(blurred, np.float32), quality=75)


def _exif(image: Array, random: Random) -> bytes:
    """Stored turned or mirrored, as cameras do, with the orientation that undoes it."""
    orientation = int(random.integers(2, 9))
    undone = {2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}[orientation]
    upright = drawing.to_image(drawing.draw(drawing.resize(read_ink(image), 112)))
    stored = upright.transpose(Image.Transpose(undone))
    return drawing.jpeg(np.asarray(stored, np.float32), orientation=orientation)


def _palette(image: Array, random: Random) -> bytes:
    """A PNG of 16 colours, of a drawing in colour."""
    colours = random.integers(0, 90, 3).tolist(), random.integers(215, 256, 3).tolist()
    picture = drawing.draw(drawing.resize(read_ink(image), 84), *colours)
    return drawing.png(drawing.to_image(picture).quantize(16))


def _bits(image: Array, _: Random) -> bytes:
    """A PNG of one bit for each pixel."""
    picture = drawing.draw(drawing.resize(read_ink(image), 84))
    return drawing.png(drawing.to_image(picture).convert("1", dither=Image.Dither.NONE))


def _coloured(image: Array, colour: drawing.Colour, sheet: drawing.Colour, size: int = 84) -> bytes:
    return drawing.png(drawing.draw(drawing.resize(read_ink(image), size), colour, sheet))


def _boxed(image: Array, _: Random) -> bytes:
    """A field of a printed form, its border in black."""
    sheet = drawing.fill(WHITE, 120)
    sheet[4:116, 4:116] = BLACK
    sheet[7:113, 7:113] = WHITE
    return drawing.png(drawing.lay(drawing.centre(drawing.resize(read_ink(image), 90), 120), BLACK, sheet))


def _cut_off(image: Array, _: Random) -> bytes:
    """The lowest quarter of the digit is missing."""
    rows = np.flatnonzero(image.max(axis=1) > 50)
    kept = image[: rows[-1] - len(rows) // 4 + 1]
    return drawing.png(drawing.draw(drawing.resize(read_ink(kept), 4 * len(kept), 112)))


_KINDS: Sequence[tuple[str, str, Draw]] = (
    ("as in the data set", "white on black, 28 px", _as_it_is),
    ("black on white", "28 px", lambda image, _: _black_on_white(image, 28)),
    ("black on white, 280 px", "", lambda image, _: _black_on_white(image, 280)),
    ("black on transparent", "RGBA, 28 px", lambda image, _: drawing.png_with_alpha(read_ink(image), BLACK)),
    (
        "white on transparent",
        "RGBA, 112 px, as a dark canvas exports it",
        lambda image, _: drawing.png_with_alpha(drawing.resize(read_ink(image), 112), WHITE),
    ),
    ("moved", "4 px both ways, 28 px", _moved),
    ("half size", "14 px in 28 px", _half),
    ("in a canvas", "28 px in the middle of 112 px", _in_canvas),
    ("in a corner", "72 px in a corner of 400x300, black on white", _in_corner),
    ("wide picture", "140 px anywhere in 480x160, black on white", _wide),
    ("blue ink", "on white, 28 px", lambda image, _: _coloured(image, BLUE, WHITE, 28)),
    ("red ink", "on yellow paper", lambda image, _: _coloured(image, RED, YELLOW)),
    ("pencil", "grey on white", lambda image, _: _coloured(image, PENCIL, WHITE)),
    ("chalk", "on a green board, 28 px", lambda image, _: _coloured(image, CHALK, BOARD, 28)),
    ("grey paper", "black on grey, 28 px", lambda image, _: _coloured(image, BLACK, GREY, 28)),
    ("dark canvas", "light on dark grey, 280 px", lambda image, _: _coloured(image, LIGHT, DARK, 280)),
    ("turned JPEG", "black on white; an EXIF orientation turns it upright", _exif),
    ("turned 30 degrees", "either way", lambda image, random: _turned(image, random, 30)),
    ("noise", "standard deviation 60", lambda image, random: _noisy(image, random, 60)),
    ("salt and pepper", "a tenth of the pixels", _speckled),
    ("blur", "standard deviation 1.5 px of 28", _blurred),
    ("thick pen", "1.5 px of 28 wider", lambda image, _: _pen(image, 6)),
    ("thin pen", "1 px of 28 narrower", lambda image, _: _pen(image, -4)),
    ("hard edges", "a canvas's line, 200 px", _marker),
    ("lined paper", "blue ink on ruled paper", lambda image, random: _ruled(image, random, squared=False)),
    ("light falling off", "JPEG, half as bright at one side", _shaded),
    ("shadow", "JPEG, a shadow's edge across the paper", _in_shadow),
    ("photo", "tilted, unevenly lit, camera noise, JPEG", _photo),
    (
        "poor JPEG",
        "quality 10, 84 px",
        lambda image, _: drawing.jpeg(drawing.draw(drawing.resize(read_ink(image), 84)), quality=10),
    ),
    ("palette PNG", "16 colours", _palette),
    ("1-bit PNG", "", _bits),
    (
        "16-bit PNG",
        "",
        lambda image, _: drawing.png_16_bit(drawing.draw(drawing.resize(read_ink(image), 84))),
    ),
)
_BEYOND: Sequence[tuple[str, str, Draw]] = (
    ("squared paper", "blue ink on squared paper", lambda image, random: _ruled(image, random, squared=True)),
    ("in a box", "a printed border around it", _boxed),
    ("cut off", "the lowest quarter is missing", _cut_off),
    ("strong noise", "standard deviation 120", lambda image, random: _noisy(image, random, 120)),
    ("turned 60 degrees", "either way", lambda image, random: _turned(image, random, 60)),
)
DIGITS = (
    *(DigitKind(*each) for each in _KINDS),
    *(DigitKind(*each, made_for=False) for each in _BEYOND),
)
