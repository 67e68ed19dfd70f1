"""Ink told from paper on a coarse grid, by stock TensorFlow operations: its colour, the paper's level, where it is.

Nothing here is tuned to one kind of picture. Paper is what most of the picture is, or what lies along its border. Ink
is what stands out from its surroundings without touching the border, so that shadows, frames and ruled lines are none,
and hangs together, so that noise is none.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf

from modelyard.models.images.ink_background import BORDER, GRID, RIM, find_background

SMOOTHING = (0.25, 0.5, 0.25)
_MOST = 0.6
"""Share of a picture that is paper where the border's level is another."""
_TOP = 6
"""Cells that say how strong ink is."""
_CLEARED = 0.25
"""Share of the strongest that must stand out from the background; if less does, ink is one with the border."""
_LEAST, _NOISE, _MOST_NOISE = 0.2, 2.0, 0.4
"""Ink is stronger than a share of the strongest, and than so many times what a quarter of the cells exceed, but no more
need it be than the last share."""
_COHERENT = 0.2
"""Share of the most ink about any place that there is about ink."""
_GAIN, _LIGHT = 4.0, 80.0
"""How many times ink in a shadow counts at most; and how light paper is that can lie in one."""
_EDGE = 0.12
"""Share of the range by which neighbours differ at a stroke's edge, however blurred."""
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
    is_light: Any
    """``bool [N]``: whether that is none, as all fades in without an edge: light, not strokes."""

    def weigh(self, pictures: Any) -> Any:
        """``float32 [N,H,W,C]`` -> ``float32 [N,H,W]``: paper is nought, ink positive."""
        planes = tf.unstack(pictures, axis=-1)  # a sum over so short an axis takes twice as long
        weights = tf.unstack(self.ink[..., None, None], axis=1)
        papers = tf.unstack(self.paper[..., None, None], axis=1)
        first, *others = ((plane - paper) * ink for plane, paper, ink in zip(planes, papers, weights, strict=True))
        return sum(others, first)


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
    background = find_background(both)
    domes, residuals = both - background, tf.maximum(both, 0.0)
    top_dome, top_residual = (mean_top(images, _TOP) for images in (domes, residuals))
    is_lighter = _choose_smoother(background, domes, top_dome)
    is_joined = tf.where(is_lighter, *tf.split(top_dome, 2)) < _CLEARED * tf.reduce_max(
        tf.reshape(top_residual, (2, -1)), axis=0
    )
    energy = tf.reshape(tf.reduce_sum(residuals**2, axis=(1, 2)), (2, -1))
    is_lighter = tf.where(is_joined, energy[0] >= energy[1], is_lighter)
    ink = tf.where(is_lighter[:, None], ink, -ink)
    light = tf.maximum(-tf.reduce_sum(paper * ink, axis=1), 0.0)
    return Colours(paper, ink, light, is_joined, is_joined & _are_smooth(values))


def find_ink(values: Any, colours: Colours) -> Found:
    """Where ink is in ``values`` ``float32 [N,32,32]``, weighed by its colour."""
    background = tf.where(colours.is_joined[:, None, None], 0.0, find_background(values))
    light = colours.light[:, None, None]
    seen = tf.maximum(light - tf.maximum(background, 0.0), light / _GAIN)
    gain = tf.where(light > _LIGHT, light / (seen + 1e-6), 1.0)
    domes = tf.maximum(values - background, 0.0) * gain
    top = mean_top(domes, _TOP)
    return Found(background, gain, keep_coherent(domes, top), top < _FAINTEST)


def _are_smooth(values: Any) -> Any:
    """``bool [N]``: whether no neighbours differ by much of the range."""
    down = tf.reduce_max(tf.abs(values[:, 1:] - values[:, :-1]), (1, 2))
    across = tf.reduce_max(tf.abs(values[:, :, 1:] - values[:, :, :-1]), (1, 2))
    return tf.maximum(down, across) < _EDGE * (tf.reduce_max(values, (1, 2)) - tf.reduce_min(values, (1, 2)))


def _choose_smoother(backgrounds: Any, domes: Any, tops: Any) -> Any:
    """``bool [N]``: whether the first half of the hypotheses is the better one for each picture.

    Taken for paper, ink leaves its own shape behind in the background; taken for ink, it leaves none. Most of a picture
    is paper.
    """
    inner = backgrounds[:, RIM:-RIM, RIM:-RIM]
    down = tf.reduce_sum((inner[:, 1:] - inner[:, :-1]) ** 2, axis=(1, 2))
    across = tf.reduce_sum((inner[:, :, 1:] - inner[:, :, :-1]) ** 2, axis=(1, 2))
    share = tf.reduce_mean(tf.cast(domes > tops[:, None, None] / 2, tf.float32), axis=(1, 2))
    lighter, darker = tf.split(down + across + tf.where(share > 1 / 2, 1e9, 0.0), 2)
    return lighter <= darker


def keep_coherent(strength: Any, top: Any) -> Any:
    """``float32 [N,S,S]`` without what is weak beside ``top`` ``[N]`` or noise, and what has little ink about it."""
    count = strength.shape[1] * strength.shape[2]
    noise = find_kth(tf.reshape(strength, (-1, count))[:, ::3], count // 12)
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
    """``float32 [N,C]``: the median along the border, or of all where most of the picture is nearer to that."""
    channels = cells.shape[-1]
    flat = tf.reshape(cells, (-1, GRID * GRID, channels))
    border = _median(tf.gather(flat, BORDER, axis=1))
    whole = _median(flat[:, ::3])
    nearer = tf.reduce_sum(tf.abs(flat - whole[:, None]), -1) <= tf.reduce_sum(tf.abs(flat - border[:, None]), -1)
    share = tf.reduce_mean(tf.cast(nearer, tf.float32), axis=1)
    return tf.where(share[:, None] > _MOST, whole, border)


def _median(values: Any) -> Any:
    """``float32 [N,K,C]`` -> ``[N,C]``."""
    count = values.shape[1]
    return find_kth(tf.transpose(values, (0, 2, 1)), count // 2 + 1)


def find_kth(values: Any, k: int) -> Any:
    """``float32 [...,K]`` -> ``[...]``: the k-th largest; those above it need no order."""
    return tf.reduce_min(tf.math.top_k(values, k, sorted=False).values, axis=-1)


def _find_colour(apart: Any) -> Any:
    """``float32 [N,C]``: in which direction colours differ most from the paper's; in grey, weights sum to 1."""
    channels = apart.shape[-1]
    if channels == 1:
        return tf.ones_like(apart[:, 0, 0])
    flat = tf.reshape(apart, (-1, GRID * GRID, channels))
    flat = tf.concat([flat, flat[:1]], axis=0)  # a batch of one is multiplied in another order: there is none
    spread = tf.matmul(flat, flat, transpose_a=True)
    spread = spread / (tf.linalg.trace(spread)[:, None, None] + 1e-6)
    for _ in range(4):
        spread = tf.matmul(spread, spread)
        spread = spread / (tf.linalg.trace(spread)[:, None, None] + 1e-12)
    axis = tf.reduce_sum(spread * tf.one_hot(tf.argmax(tf.linalg.diag_part(spread), axis=1), channels)[:, None], -1)
    return (axis / (tf.norm(axis, axis=1, keepdims=True) * channels**0.5 + 1e-6))[:-1]


def mean_top(images: Any, count: int) -> Any:
    """``float32 [N]``: how strong the strongest cells are."""
    flat = tf.reshape(images, (-1, images.shape[1] * images.shape[2]))
    return tf.reduce_mean(tf.math.top_k(flat, count, sorted=False).values, axis=1)
