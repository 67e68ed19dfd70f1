"""``image_folder``: a folder that has one folder of pictures for each class is a dataset."""

import hashlib
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np

from modelyard.models.data import Dataset, Schema, Split, Splits
from modelyard.models.errors import InvalidData
from modelyard.models.inputs import ImageInput, Resize
from modelyard.models.readers.image_files import (
    OTHER_PICTURES,
    Picture,
    PictureList,
    describe_unreadable,
    list_labels,
    list_pictures,
)
from modelyard.models.readers.splits import DEFAULT_SHARES, TEST, TRAIN, VALIDATION, Shares, check_shares, choose_parts
from modelyard.models.types import Array

MAX_UNREADABLE = 0.01
"""Share of pictures that may be left out because they cannot be read."""
MIN_PICTURES = 20
MAX_PIXELS = 100_000_000
NAMED_FILES = 5
"""Files that an error names at most."""
_PNG, _JPEG = b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff"


def image_folder(
    path: str | Path,
    size: tuple[int, int] = (96, 96),
    channels: Literal[1, 3, 4] = 3,
    resize: Resize = "pad",
    *,
    split: Shares = DEFAULT_SHARES,
    max_gb: float = 4.0,
) -> Dataset:
    """Pictures as a dataset: a folder for each class, with PNG and JPEG files in it and in folders below it.

    Pictures are decoded as the exported graph does it: turned as EXIF says, transparency on white unless there are 4
    channels, grey to colour and back. Other files are ignored; pictures that cannot be read are left out and counted,
    up to 1 %. If ``path`` has folders ``train`` and ``test`` (and ``validation``) with the classes in them, those are
    the parts. Else a picture's content decides, so that it stays in its part as the folder grows.

    Args:
        path: the folder; relative to the model's file.
        size: height and width that the model sees.
        channels: 1 for grey, 3 for colour, 4 for colour and transparency.
        resize: how a picture of another shape is made to fit: ``pad`` keeps all of it, and its aspect, on black;
            ``crop`` keeps its middle; ``stretch`` keeps all of it, distorted.
        split: shares of training, validation and test.
        max_gb: memory that decoded pictures may take, in 10^9 bytes.

    Raises:
        InvalidData: arguments out of range.
    """
    if len(size) != len(("height", "width")) or min(size) < 1:
        raise InvalidData(f"image_folder: expected size=(height, width) in pixels, received {size!r}")
    if channels not in (1, 3, 4):
        raise InvalidData(f"image_folder: expected channels 1, 3 or 4, received {channels!r}")
    if resize not in get_args(Resize):
        raise InvalidData(f"image_folder: expected resize {', '.join(get_args(Resize))}, received {resize!r}")
    check_shares(split)
    kind = ImageInput(*size, channels, resize)
    reader = ImageReader(Path(path), kind, split, max_gb)
    return Dataset(name=Path(path).name, homepage="", read=reader.read, inspect=reader.inspect, own=True)


@dataclass(frozen=True)
class ImageReader:
    """Reads one folder, as ``image_folder`` describes it."""

    path: Path
    kind: ImageInput
    split: Shares
    max_gb: float

    def inspect(self, folder: Path) -> Schema:
        """The classes; opens no picture.

        Raises:
            InvalidData: the folder is not there, or has no classes.
        """
        return self._describe(list_labels(folder / self.path))

    def read(self, folder: Path) -> Splits:
        """All pictures in their parts, ``uint8 [N,height,width,channels]``.

        Raises:
            InvalidData: too few pictures, too many for the memory or that cannot be read, a class without any.
        """
        root = folder / self.path
        found = list_pictures(root)
        self._check_count(root, len(found.pictures))
        pixels, chosen, hashes, faults = self.decode_pictures(root, found)
        check_faults(root, faults, len(found.pictures))
        parts = self._choose_parts(chosen, hashes)
        labels = np.array([picture.label for picture in chosen], np.int32)

        def take(part: int) -> Split:
            members = np.flatnonzero(parts == part)
            if not members.size:
                raise InvalidData(f"{root}: {len(chosen)} pictures are too few: one of three parts has none")
            return Split(np.stack([pixels[index] for index in members]), labels[members])

        return Splits(
            take(TRAIN),
            take(VALIDATION),
            take(TEST),
            schema=self._describe(found.labels),
            notes=tuple(describe_rest(root, faults, found.ignored)),
        )

    def _describe(self, labels: tuple[str, ...]) -> Schema:
        return Schema(self.kind, "binary" if len(labels) == len(("no", "yes")) else "multiclass", labels)

    def _check_count(self, root: Path, count: int) -> None:
        if count < MIN_PICTURES:
            raise InvalidData(f"{root} has {count} pictures: at least {MIN_PICTURES} are needed, and hundreds to learn")
        shape = (self.kind.height, self.kind.width, self.kind.channels)
        size_gb = count * float(np.prod(shape)) / 1e9
        if size_gb > self.max_gb:
            raise InvalidData(
                f"{root}: {count} pictures of {'x'.join(map(str, shape))} take {size_gb:.1f} GB of memory, more than "
                f"{self.max_gb:g}: give a smaller size, fewer channels, or max_gb"
            )

    def decode_pictures(
        self, root: Path, found: PictureList
    ) -> tuple[list[Array], list[Picture], list[bytes], dict[Path, str]]:
        """Pixels, pictures and hashes of what can be read; files that cannot be, with the reason.

        Raises:
            InvalidData: the folder vanished meanwhile.
        """
        pixels, chosen, hashes, faults = [], [], [], {}
        decode = Decoder(self.kind)
        for picture in found.pictures:
            try:
                content = read_file(picture.file)
                pixels.append(decode(picture.file, content))
            except (OSError, UnreadablePicture) as error:
                if not root.is_dir():
                    raise describe_unreadable(root, FileNotFoundError()) from None
                faults[picture.file] = error.strerror or str(error) if isinstance(error, OSError) else str(error)
            else:
                chosen.append(picture)
                hashes.append(hashlib.sha256(content).digest()[:8])
        return pixels, chosen, hashes, faults

    def _choose_parts(self, pictures: Sequence[Picture], hashes: Sequence[bytes]) -> Array:
        """The part of each picture: that of its folder, or by its content."""
        numbers = np.frombuffer(b"".join(hashes), ">u8") / 2.0**64
        given = np.array([-1 if picture.part is None else picture.part for picture in pictures], np.int8)
        if (given < 0).all():
            return choose_parts(numbers, self.split)
        if (given == VALIDATION).any():
            return given
        held_out = self.split[VALIDATION] / (self.split[TRAIN] + self.split[VALIDATION])
        return np.where((given == TRAIN) & (numbers >= 1 - held_out), VALIDATION, given)


class UnreadablePicture(Exception):
    """A file that is no picture that a model can be asked about."""


def read_file(file: Path) -> bytes:
    """The content of a file; a pipe or a device would never end."""
    if file.exists() and not file.is_file():
        raise UnreadablePicture("is no file")
    return file.read_bytes()


class Decoder:
    """Decodes files as the exported graph does; TensorFlow is imported at the first."""

    def __init__(self, kind: ImageInput) -> None:
        self._kind = kind

    def __call__(self, file: Path, content: bytes) -> Array:
        """``uint8 [height,width,channels]``.

        Raises:
            UnreadablePicture: it is damaged, too large, or neither PNG nor JPEG.
        """
        import tensorflow as tf

        from modelyard.models.images.decoding import compile_image_decoder

        if not content.startswith((_PNG, _JPEG)):
            what = file.suffix if file.suffix.lower() in OTHER_PICTURES else "something else"
            raise UnreadablePicture(f"expected PNG or JPEG, received {what}" if content else "is empty")
        try:
            if (pixels := count_pixels(content)) > MAX_PIXELS:
                raise UnreadablePicture(f"has {pixels} pixels, more than {MAX_PIXELS}")
            image: Array = compile_image_decoder(self._kind)([content])[0]
        except (tf.errors.OpError, struct.error):
            raise UnreadablePicture("is damaged or cut off") from None
        return image


def count_pixels(content: bytes) -> int:
    """Height times width, by the header of a PNG or JPEG file."""
    import tensorflow as tf

    if content.startswith(_PNG):
        width, height = struct.unpack_from(">II", content, 16)
        return int(width) * int(height)
    shape: Any = tf.io.extract_jpeg_shape(content)
    return int(shape[0]) * int(shape[1])


def check_faults(root: Path, faults: dict[Path, str], count: int) -> None:
    """Checks that few pictures cannot be read.

    Raises:
        InvalidData: they are too many; some are named.
    """
    if len(faults) > MAX_UNREADABLE * count:
        raise InvalidData(
            f"{root}: {len(faults)} of {count} pictures cannot be read, more than 1 %: {describe_faults(root, faults)}"
        )


def describe_faults(root: Path, faults: dict[Path, str]) -> str:
    """The first files, with reasons."""
    named = [f"{file.relative_to(root)} {reason}" for file, reason in list(faults.items())[:NAMED_FILES]]
    return "; ".join([*named, *(["…"] if len(faults) > NAMED_FILES else [])])


def describe_rest(root: Path, faults: dict[Path, str], ignored: int) -> Iterator[str]:
    """What was left out, for people."""
    if faults:
        yield f"{len(faults)} pictures left out, which cannot be read: {describe_faults(root, faults)}"
    if ignored:
        yield f"{ignored} files ignored, which are no pictures"
