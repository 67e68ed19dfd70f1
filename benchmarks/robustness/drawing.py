"""Strokes laid over paper, and pictures as the bytes of a file.

Ink is the share of a pixel that a stroke covers, ``float32 [H,W]`` in 0..1; a picture is ``float32 [H,W,3]`` in 0..255.
"""

import io
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageFilter

from modelyard.models.types import Array

Colour = Sequence[float]

BLACK, WHITE = (0.0, 0.0, 0.0), (255.0, 255.0, 255.0)


def read_ink(image: Array) -> Array:
    """``uint8 [H,W]`` or ``[H,W,1]``, white on black."""
    ink: Array = image.reshape(image.shape[:2]).astype(np.float32) / 255
    return ink


def resize(ink: Array, height: int, width: int | None = None) -> Array:
    """Bicubic; as a drawing program or a browser does it."""
    picture = Image.fromarray(ink.astype(np.float32), mode="F")
    resized = picture.resize((width or height, height), Image.Resampling.BICUBIC)
    clipped: Array = np.clip(np.asarray(resized), 0, 1)
    return clipped


def place(ink: Array, height: int, width: int, top: int, left: int) -> Array:
    """The ink on an empty sheet; what lies outside of it is cut off."""
    sheet = np.zeros((height, width), np.float32)
    rows = slice(max(top, 0), min(top + ink.shape[0], height))
    columns = slice(max(left, 0), min(left + ink.shape[1], width))
    sheet[rows, columns] = ink[rows.start - top : rows.stop - top, columns.start - left : columns.stop - left]
    return sheet


def centre(ink: Array, height: int, width: int | None = None) -> Array:
    width = width or height
    return place(ink, height, width, (height - ink.shape[0]) // 2, (width - ink.shape[1]) // 2)


def turn(ink: Array, degrees: float) -> Array:
    """Turned about the middle, anticlockwise."""
    turned = Image.fromarray(ink, mode="F").rotate(degrees, Image.Resampling.BICUBIC)
    clipped: Array = np.clip(np.asarray(turned), 0, 1)
    return clipped


def blur(ink: Array, radius: float) -> Array:
    """Gaussian, with a standard deviation of ``radius`` pixels."""
    grey = Image.fromarray(np.rint(ink * 255).astype(np.uint8))
    return np.asarray(grey.filter(ImageFilter.GaussianBlur(radius)), np.float32) / 255


def thicken(ink: Array, pixels: int) -> Array:
    """Each stroke ``pixels`` wider (or thinner, where negative); an even number."""
    grey = Image.fromarray(np.rint(ink * 255).astype(np.uint8))
    kind = ImageFilter.MaxFilter if pixels > 0 else ImageFilter.MinFilter
    return np.asarray(grey.filter(kind(abs(pixels) + 1)), np.float32) / 255


def fill(colour: Colour, height: int, width: int | None = None) -> Array:
    """Paper of one colour."""
    return np.tile(np.asarray(colour, np.float32), (height, width or height, 1))


def lay(ink: Array, colour: Colour, paper: Array) -> Array:
    """Ink of one colour over paper."""
    covered = ink[..., None]
    laid: Array = paper * (1 - covered) + np.asarray(colour, np.float32) * covered
    return laid


def draw(ink: Array, colour: Colour = BLACK, paper: Colour = WHITE) -> Array:
    return lay(ink, colour, fill(paper, *ink.shape))


def to_image(picture: Array) -> Image.Image:
    return Image.fromarray(np.clip(np.rint(picture), 0, 255).astype(np.uint8))


def png(picture: Array | Image.Image) -> bytes:
    """A PNG of 8 bits; grey where all colours are."""
    image = picture if isinstance(picture, Image.Image) else to_image(picture)
    if image.mode == "RGB":
        red, green, blue = (channel.tobytes() for channel in image.split())
        image = image.getchannel(0) if red == green == blue else image
    return _save(image, "PNG")


def jpeg(picture: Array, quality: int = 90, orientation: int = 1) -> bytes:
    """A JPEG in colour, with an EXIF orientation where it is not 1."""
    exif = Image.Exif()
    if orientation != 1:
        exif[0x0112] = orientation
    return _save(to_image(picture), "JPEG", quality=quality, exif=exif)


def png_with_alpha(ink: Array, colour: Colour) -> bytes:
    """An RGBA PNG of strokes of one colour on nothing, as a canvas exports it."""
    pixels = np.empty((*ink.shape, 4), np.uint8)
    pixels[..., :3] = np.asarray(colour, np.uint8)
    pixels[..., 3] = np.rint(ink * 255)
    pixels[pixels[..., 3] == 0] = 0
    return _save(Image.fromarray(pixels), "PNG")


def png_16_bit(picture: Array) -> bytes:
    """A grey PNG of 16 bits."""
    grey = np.clip(picture.mean(axis=-1) * 257, 0, 65535)
    return _save(Image.fromarray(np.rint(grey).astype(np.uint16)), "PNG")


def _save(image: Image.Image, kind: str, **options: object) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()
