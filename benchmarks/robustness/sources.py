"""Fonts and photographs that packages bring: no file of the network is needed. More packages, more variety."""

from collections.abc import Sequence
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from PIL import Image, ImageFont

from modelyard.models.types import Array

_SYSTEM_FONTS = Path("/usr/share/fonts")
_FONTS = (
    *("DejaVuSans", "DejaVuSans-Bold", "DejaVuSans-Oblique", "DejaVuSerif", "DejaVuSerif-Bold", "DejaVuSerif-Italic"),
    *("DejaVuSansMono", "STIXGeneral", "STIXGeneralBol", "STIXGeneralItalic"),
    *("LiberationSans-Regular", "LiberationSerif-Regular", "LiberationSansNarrow-Bold", "LiberationMono-Regular"),
)
_PHOTOGRAPHS = {
    "sklearn": ("datasets/images/china.jpg", "datasets/images/flower.jpg"),
    "matplotlib": ("mpl-data/sample_data/grace_hopper.jpg",),
    "skimage": tuple(
        f"data/{name}"
        for name in (
            *("astronaut.png", "camera.png", "chelsea.png", "coffee.png", "coins.png", "rocket.jpg", "moon.png"),
            *("gravel.png", "grass.png", "brick.png", "hubble_deep_field.jpg", "motorcycle_left.png", "retina.jpg"),
        )
    ),
}


@cache
def list_fonts() -> Sequence[Path | None]:
    """Files of fonts, in a fixed order; None is Pillow's own."""
    found = {
        path.stem: path
        for folder in (_SYSTEM_FONTS, _package_folder("matplotlib") / "mpl-data" / "fonts" / "ttf")
        for path in folder.rglob("*.ttf")
    }
    return (None, *(found[name] for name in _FONTS if name in found))


def load_font(font: Path | None, size: int) -> ImageFont.FreeTypeFont:
    if font:
        return ImageFont.truetype(font, size)
    own = ImageFont.load_default(size)
    assert isinstance(own, ImageFont.FreeTypeFont)  # where a size is given
    return own


@cache
def read_photographs() -> Sequence[Array]:
    """``uint8 [H,W,3]`` each."""
    paths = (_package_folder(package) / name for package, names in _PHOTOGRAPHS.items() for name in names)
    return tuple(np.asarray(Image.open(path).convert("RGB")) for path in paths if path.exists())


def _package_folder(package: str) -> Path:
    """Where a package's files are, without importing it; a folder that is not there where it is not installed."""
    spec = find_spec(package)
    return Path(spec.origin).parent if spec and spec.origin else Path("/nonexistent")
