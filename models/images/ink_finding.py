"""Ink told from paper on a coarse grid, by stock TensorFlow operations: its colour, the paper's level, where it is.

Nothing here is tuned to one kind of picture. Paper is what most of the picture is, or what lies along its border. Ink
is what stands out from its surroundings without touching the border, so that shadows, frames and ruled lines are none,
and hangs together, so that noise is none.
"""

from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import tensorflow as tf

GRID = 32
"""Cells of the coarse grid along each side."""
SMOOTHING = (0.25, 0.5, 0.25)
_STRETCH = 15
"""Cells along the border: a shorter stretch that differs is a stroke that reaches it, a longer one a frame or shadow."""
_RIM = 3
_FLOODS = 17
"""Steps of a cell from the border to the middle."""
_MOST = 0.6
_TOP = 6
_CLEARED = 0.25
_ROW_SHARE = 0.2
_LEAST = 0.2
_NOISE = 2.0
_MOST_NOISE = 0.4
_COHERENT = 0.2
_GAIN = 4.0
_LIGHT = 80.0
_FAINTEST = 6.0
"""Levels of 255 that ink differs from paper by at least, spread over a cell."""


@dataclass(frozen=True)
class Colours:
    """What tells ink from paper, for each picture of a batch."""

    paper: Any
    """``float32 [N,C]``: the paper's level."""
    ink: Any
    """``float32 [N,C]``: weights of the channels, that make ink more than paper."""
    light: Any
    """``float32 [N]``: how light the paper is where ink is darker; else nought."""
    is_joined: Any
    """``bool [N]``: whether ink is one with the border, so that all that is no paper is ink."""

    def weigh(self, pictures: Any) -> Any:
        """``float32 [N,H,W,C]`` -> ``float32 [N,H,W]``: paper is nought, ink positive."""
        return tf.reduce_sum((pictures - self.paper[:, None, None]) * self.ink[:, None, None], axis=-1)


@dataclass(frozen=True)
class Found:
    """What there is on a grid, for each picture of a batch."""

    background: Any
    """``float32 [N,32,32]``: what the surroundings have of the ink's colour, shadows and frames included."""
    gain: Any
    """``float32 [N,32,32]``: how much ink counts that lies in the shadow."""
    strength: Any
    """``float32 [N,32,32]``: ink above its background; nought where no coherent ink is."""
    is_blank: Any
    """``bool [N]``: whether nothing stands out."""


def find_colours(cells: Any) -> Colours:
    """The colours of pictures ``float32 [N,32,32,C]``, 0..255."""
    paper = _find_paper(cells)
    apart = cells - paper[:, None, None, :]
    ink = _find_colour(apart)
    values = tf.reduce_sum(apart * ink[:, None, None, :], axis=-1)
    both = tf.concat([values, -values], axis=0)
    background = _find_background(both)
    domes, residuals = both - background, tf.maximum(both, 0.0)
    top_dome, top_residual = (mean_top(images, _TOP) for images in (domes, residuals))
    is_lighter = _choose_smoother(background, domes, top_dome)
    is_joined = tf.where(is_lighter, *tf.split(top_dome, 2)) < _CLEARED * tf.reduce_max(
        tf.reshape(top_residual, (2, -1)), axis=0
    )
    energy = tf.reshape(tf.reduce_sum(residuals**2, axis=(1, 2)), (2, -1))
    is_lighter = tf.where(is_joined, energy[0] >= energy[1], is_lighter)
    ink = tf.where(is_lighter[:, None], ink, -ink)
    return Colours(paper, ink, tf.maximum(-tf.reduce_sum(paper * ink, axis=1), 0.0), is_joined)


def find_ink(values: Any, colours: Colours) -> Found:
    """Where ink is in ``values`` ``float32 [N,32,32]``, weighed by its colour."""
    background = tf.where(colours.is_joined[:, None, None], 0.0, _find_background(values))
    light = colours.light[:, None, None]
    seen = tf.maximum(light - tf.maximum(background, 0.0), light / _GAIN)
    gain = tf.where(light > _LIGHT, light / (seen + 1e-6), 1.0)
    domes = tf.maximum(values - background, 0.0) * gain
    top = mean_top(domes, _TOP)
    return Found(background, gain, keep_coherent(domes, top), top < _FAINTEST)


def _choose_smoother(backgrounds: Any, domes: Any, tops: Any) -> Any:
    """``bool [N]``: whether the first half of the hypotheses is the better one for each picture.

    Taken for paper, ink leaves its own shape behind in the background; taken for ink, it leaves none. Most of a picture
    is paper.
    """
    inner = backgrounds[:, _RIM:-_RIM, _RIM:-_RIM]
    down = tf.reduce_sum((inner[:, 1:] - inner[:, :-1]) ** 2, axis=(1, 2))
    across = tf.reduce_sum((inner[:, :, 1:] - inner[:, :, :-1]) ** 2, axis=(1, 2))
    share = tf.reduce_mean(tf.cast(domes > tops[:, None, None] / 2, tf.float32), axis=(1, 2))
    lighter, darker = tf.split(down + across + tf.where(share > 1 / 2, 1e9, 0.0), 2)
    return lighter <= darker


def keep_coherent(strength: Any, top: Any) -> Any:
    """``float32 [N,S,S]`` without what is weak beside ``top`` ``[N]`` or noise, and what has little ink about it."""
    count = strength.shape[1] * strength.shape[2]
    noise = tf.math.top_k(tf.reshape(strength, (-1, count))[:, ::3], count // 12).values[:, -1]
    least = tf.minimum(tf.maximum(_LEAST * top, _NOISE * noise), _MOST_NOISE * top)
    strong = tf.where(strength > least[:, None, None], strength, 0.0)
    mass = pool_mass(strong)
    return tf.where(mass > _COHERENT * tf.reduce_max(mass, axis=(1, 2), keepdims=True), strong, 0.0)


def pool_mass(images: Any) -> Any:
    """Mean of the 5 x 5 cells about each."""
    size = images.shape[1]
    places = np.arange(size)
    band = tf.constant((np.abs(places[:, None] - places) <= 2) / 5, tf.float32)  # noqa: PLR2004
    return tf.matmul(tf.matmul(band, images), band)


# --- paper and colour -------------------------------------------------------------------------------------------------


def _find_paper(cells: Any) -> Any:
    """``float32 [N,C]``: the commonest level along the border, or of all where most of the picture is nearer to that."""
    channels = cells.shape[-1]
    flat = tf.reshape(cells, (-1, GRID * GRID, channels))
    border = _median(tf.gather(flat, _RING, axis=1))
    whole = _median(flat[:, ::3])
    nearer = tf.reduce_sum(tf.abs(flat - whole[:, None]), -1) <= tf.reduce_sum(tf.abs(flat - border[:, None]), -1)
    share = tf.reduce_mean(tf.cast(nearer, tf.float32), axis=1)
    return tf.where(share[:, None] > _MOST, whole, border)


def _median(values: Any) -> Any:
    """``float32 [N,K,C]`` -> ``[N,C]``."""
    count = values.shape[1]
    return tf.math.top_k(tf.transpose(values, (0, 2, 1)), count // 2 + 1).values[..., -1]


def _find_colour(apart: Any) -> Any:
    """``float32 [N,C]``: the direction in which colours differ most from the paper's, as weights that sum to 1 in grey."""
    channels = apart.shape[-1]
    if channels == 1:
        return tf.ones_like(apart[:, 0, 0])
    flat = tf.reshape(apart, (-1, GRID * GRID, channels))
    spread = tf.matmul(flat, flat, transpose_a=True)
    spread = spread / (tf.linalg.trace(spread)[:, None, None] + 1e-6)
    for _ in range(4):
        spread = tf.matmul(spread, spread)
        spread = spread / (tf.linalg.trace(spread)[:, None, None] + 1e-12)
    axis = tf.reduce_sum(spread * tf.one_hot(tf.argmax(tf.linalg.diag_part(spread), axis=1), channels)[:, None], -1)
    return axis / (tf.norm(axis, axis=1, keepdims=True) * channels**0.5 + 1e-6)


def mean_top(images: Any, count: int) -> Any:
    """``float32 [N]``: how strong the strongest cells are."""
    flat = tf.reshape(images, (-1, images.shape[1] * images.shape[2]))
    return tf.reduce_mean(tf.math.top_k(flat, count, sorted=False).values, axis=1)


# --- what is joined with the border -----------------------------------------------------------------------------------


def flood(values: Any, marker: Any) -> Any:
    """``float32 [N,S,S]``: greyscale reconstruction (Vincent 1993) of ``marker`` under ``values``."""
    level = marker
    for _ in range(_FLOODS):
        level = _flood_once(level, values)
    return level


@partial(tf.function, autograph=False)
def _find_background(values: Any) -> Any:
    """What is joined with the border, but for bridges: a stroke from shadow into light has the shadow's level along it."""
    rows, columns = (_find_lines(images) for images in (values, tf.transpose(values, (0, 2, 1))))
    background = flood(values, _mark_border(values, rows, columns))
    lines = tf.maximum(tf.maximum(rows[:, :, None], columns[:, None, :]), _AT_RIM)
    return tf.maximum(_open(background), tf.minimum(background, lines))


def _open(images: Any) -> Any:
    """Without what is narrower than seven cells."""
    for sign in (-1.0, 1.0):
        images = sign * images
        for axis in (1, 2):
            for _ in range(3):
                images = _spread(images, axis)
        images = sign * images
    return images


@partial(tf.function, autograph=False)
def _flood_once(level: Any, values: Any) -> Any:
    return tf.minimum(_spread(_spread(level, 1), 2), values)


def _spread(images: Any, axis: int) -> Any:
    """The largest of three neighbours along an axis."""
    pads = [(0, 0), (0, 0), (0, 0)]
    pads[axis] = (1, 1)
    padded = tf.pad(images, pads, constant_values=_NOTHING)
    if axis == 1:
        return tf.maximum(tf.maximum(padded[:, :-2], padded[:, 2:]), images)
    return tf.maximum(tf.maximum(padded[:, :, :-2], padded[:, :, 2:]), images)


def _mark_border(values: Any, rows: Any, columns: Any) -> Any:
    """``float32 [N,32,32]``: levels of the border without what is only a short stretch of it, but with ruled lines."""
    ring = tf.gather(tf.reshape(values, (-1, GRID * GRID)), _RING, axis=1)
    least = tf.reduce_min(tf.gather(ring, _STRETCHES, axis=1), axis=2)
    opened = tf.reduce_max(tf.gather(least, _STRETCHES, axis=1), axis=2)
    sides = tf.concat([rows, columns], axis=1)
    ends = tf.minimum(ring, tf.gather(sides, _RING_SIDES, axis=1))
    level = tf.concat([tf.maximum(opened, ends), tf.fill([tf.shape(values)[0], 1], _NOTHING)], axis=1)
    return tf.reshape(tf.gather(level, _FROM_RING, axis=1), (-1, GRID, GRID))


def _find_lines(values: Any) -> Any:
    """``float32 [N,32]``: the level that four fifths of each row reach."""
    return tf.math.top_k(values, round(GRID * (1 - _ROW_SHARE))).values[..., -1]


_NOTHING = -1e4


def _walk_border() -> tuple[Any, Any]:
    """Places of the border's cells in a flat grid, around it; and of each its row, or 32 + its column at top and foot."""
    last = GRID - 1
    top, right = [(0, k) for k in range(last)], [(k, last) for k in range(last)]
    foot, left = [(last, last - k) for k in range(last)], [(last - k, 0) for k in range(last)]
    places = [*top, *right, *foot, *left]
    sides = [GRID + column if row in (0, last) else row for row, column in places]
    return np.array([row * GRID + column for row, column in places]), np.array(sides)


_RING, _RING_SIDES = _walk_border()
_STRETCHES = (np.arange(len(_RING))[:, None] + np.arange(_STRETCH) - _STRETCH // 2) % len(_RING)
_FROM_RING = np.full(GRID * GRID, len(_RING))
_FROM_RING[_RING] = np.arange(len(_RING))
_AT_RIM = np.full((GRID, GRID), -1e4, np.float32)
_AT_RIM[:_RIM] = _AT_RIM[-_RIM:] = _AT_RIM[:, :_RIM] = _AT_RIM[:, -_RIM:] = 1e4
