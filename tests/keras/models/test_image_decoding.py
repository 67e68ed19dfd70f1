"""The decoder of images in exported graphs, against Pillow on photographs and on files of every mode."""

import struct
from io import BytesIO
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image, ImageOps
from sklearn.datasets import load_sample_images

from modelyard.models.images.decoding import compile_image_decoder
from modelyard.models.inputs import ImageInput
from modelyard.models.types import Array

PHOTO = Image.fromarray(load_sample_images().images[0]).crop((100, 50, 340, 210))
"""240 x 160 pixels of a temple's roof, and sky."""
ORIENTATION = 0x0112


def encode(image: Image.Image, form: str, **options: Any) -> bytes:
    out = BytesIO()
    image.save(out, form, **options)
    return out.getvalue()


def exif(orientation: int) -> Image.Exif:
    found = Image.Exif()
    found[ORIENTATION] = orientation
    return found


def decode(kind: ImageInput, *files: bytes) -> Array:
    return compile_image_decoder(kind)(files).astype(np.float32)


def pillow(content: bytes, kind: ImageInput) -> Array:
    """What Pillow makes of it, in the model's size."""
    stored = Image.open(BytesIO(content))
    if kind.channels == 1 and stored.mode == "RGB":
        stored.draft("L", stored.size)  # the brightness of a JPEG file, as it is stored
    image = ImageOps.exif_transpose(stored).convert("RGBA" if has_alpha(content) else "RGB")
    if has_alpha(content) and kind.channels < 4:
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    image = image.convert({1: "L", 3: "RGB", 4: "RGBA"}[kind.channels])
    size = (kind.width, kind.height)
    if image.size != size:
        how = {
            "stretch": lambda: image.resize(size, Image.Resampling.BILINEAR),
            "pad": lambda: ImageOps.pad(image, size, Image.Resampling.BILINEAR),
            "crop": lambda: ImageOps.fit(image, size, Image.Resampling.BILINEAR),
        }
        image = how[kind.resize]()
    return np.asarray(image, np.float32).reshape(kind.height, kind.width, kind.channels)


def has_alpha(content: bytes) -> bool:
    image = Image.open(BytesIO(content))
    return image.mode in ("LA", "RGBA") or "transparency" in image.info


def fading() -> Image.Image:
    """The photograph, less and less transparent from left to right."""
    image = PHOTO.convert("RGBA")
    ramp = np.tile(np.linspace(0, 255, image.width).astype(np.uint8), (image.height, 1))
    image.putalpha(Image.fromarray(ramp))
    return image


GREY16 = Image.fromarray(np.asarray(PHOTO.convert("L")).astype(np.uint16) * 257)
FILES = {
    "grey png": encode(PHOTO.convert("L"), "PNG"),
    "grey png with alpha": encode(fading().convert("LA"), "PNG"),
    "grey png with a transparent grey": encode(PHOTO.convert("L"), "PNG", transparency=120),
    "grey png of 16 bits": encode(GREY16, "PNG"),
    "black and white png": encode(PHOTO.convert("1"), "PNG"),
    "palette png": encode(PHOTO.quantize(32), "PNG"),
    "palette png with a transparent entry": encode(PHOTO.quantize(32), "PNG", transparency=3),
    "colour png": encode(PHOTO, "PNG"),
    "colour png with a transparent colour": encode(PHOTO, "PNG", transparency=PHOTO.getpixel((5, 5))),
    "colour png with alpha": encode(fading(), "PNG"),
    "grey jpeg": encode(PHOTO.convert("L"), "JPEG", quality=90),
    "colour jpeg": encode(PHOTO, "JPEG", quality=90),
    "progressive jpeg": encode(PHOTO, "JPEG", quality=90, progressive=True),
    "cmyk jpeg": encode(PHOTO.convert("CMYK"), "JPEG", quality=95),
}


@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("name", FILES)
def test_any_mode_becomes_what_pillow_makes_of_it(name: str, channels: Any) -> None:
    """Transparency on white, grey to colour and back, 16 bits, palettes, CMYK: to a rounding."""
    kind = ImageInput(PHOTO.height, PHOTO.width, channels)
    reference = pillow(FILES["grey png" if name == "grey png of 16 bits" else name], kind)
    assert np.abs(decode(kind, FILES[name])[0] - reference).max() <= 1


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_images_of_a_batch_do_not_depend_on_each_other(channels: Any) -> None:
    """The plainest of files has the same pixels beside one of each other kind."""
    kind = ImageInput(PHOTO.height, PHOTO.width, channels)
    apart = np.concatenate([decode(kind, content) for content in FILES.values()])
    np.testing.assert_array_equal(decode(kind, *FILES.values()), apart)


@pytest.mark.parametrize("form", ["JPEG", "PNG"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_image_is_turned_as_exif_says(form: str, orientation: int) -> None:
    """All eight orientations; the image has the model's size when it is turned, or is resized."""
    content = encode(PHOTO, form, exif=exif(orientation), quality=95)
    width, height = PHOTO.size if orientation < 5 else PHOTO.size[::-1]
    for kind in (ImageInput(height, width, 3), ImageInput(50, 60, 3, "crop")):
        assert np.abs(decode(kind, content)[0] - pillow(content, kind)).max() <= 1


@pytest.mark.parametrize("endian", ["<", ">"])
def test_orientation_is_found_in_both_byte_orders_and_behind_other_segments(endian: str) -> None:
    """A directory that begins late, other entries before, a comment and a profile before EXIF."""
    tiff = struct.pack(
        f"{endian}2sHI 6x HHHI4sHHIHxxI",
        *(b"II" if endian == "<" else b"MM", 42, 14, 2, 0x010F, 2, 4, b"ACM", ORIENTATION, 3, 1, 6, 0),
    )
    content = encode(PHOTO, "JPEG", exif=b"Exif\0\0" + tiff, comment=b"by hand", icc_profile=bytes(40_000))
    kind = ImageInput(PHOTO.width, PHOTO.height, 3)
    assert np.abs(decode(kind, content)[0] - pillow(content, kind)).max() <= 1
    assert Image.open(BytesIO(content)).getexif()[ORIENTATION] == 6


@pytest.mark.parametrize(
    "tiff",
    [
        b"II*\0",
        b"II*\0\xff\xff\xff\x7f",
        b"MM\0*\0\0\0\x08\xff\xff",
        b"II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\1\0\0\0\x63",
    ],
    ids=["cut off", "far away", "too many entries", "no such orientation"],
)
def test_damaged_exif_leaves_the_image_as_it_is(tiff: bytes) -> None:
    """Nothing in it makes decoding fail."""
    kind = ImageInput(PHOTO.height, PHOTO.width, 3)
    plain, damaged = (encode(PHOTO, "JPEG", quality=90, **more) for more in ({}, {"exif": b"Exif\0\0" + tiff}))
    np.testing.assert_array_equal(decode(kind, damaged), decode(kind, plain))


@pytest.mark.parametrize("content", [b"", b"GIF89a", FILES["colour jpeg"][:900], FILES["colour png"][:900]])
def test_damaged_file_is_refused(content: bytes) -> None:
    """As an invalid argument, which the model server passes on as such."""
    with pytest.raises(tf.errors.InvalidArgumentError):
        decode(ImageInput(PHOTO.height, PHOTO.width, 3), content)


@pytest.mark.parametrize(
    ("channels", "resize", "size"),
    [
        (3, "stretch", (40, 120)),
        pytest.param(3, "pad", (40, 120), marks=pytest.mark.long),
        (3, "crop", (400, 300)),
        (4, "pad", (96, 96)),
    ],
)
def test_image_of_another_size_is_resized_as_pillow_does(channels: Any, resize: Any, size: tuple[int, int]) -> None:
    """Stretched, padded with black, or cut to the middle; antialiased; smaller and larger.

    Colours are compared as far as they can be seen.
    """
    content = encode(fading() if channels == 4 else PHOTO, "PNG")
    kind = ImageInput(*size, channels, resize)
    found, reference = decode(kind, content)[0], pillow(content, kind)
    if channels == 4:
        found, reference = (image[..., :3] * image[..., 3:] / 255 for image in (found, reference))
    gap = np.abs(found - reference).max(axis=-1)
    assert np.mean(gap > 2) <= 0.001
