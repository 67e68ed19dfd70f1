"""Copies TensorFlow's generated message classes, and nothing else of it, from one environment into another.

``tensorflow-serving-api`` needs ``tensorflow.core.*_pb2`` (a few hundred kilobytes) of a package of 1.5 GB. The
gateway's environment gets just these. There, ``import tensorflow`` itself is refused by its ``__init__.py``;
``models/tfserving/messages.py`` goes past it.

    python copy_messages.py .venv .venv-slim
"""

import shutil
import sys
from pathlib import Path

NEEDED = ("tensorflow/core", "tensorflow/compiler/xla/tsl/protobuf", "tensorflow/tsl/protobuf")

INIT = 'raise ImportError("only the message classes of TensorFlow are installed here")\n'


def site_packages(environment: Path) -> Path:
    return next((environment / "lib").glob("python3.*")) / "site-packages"


def copy(source: Path, target: Path) -> int:
    """Copies every ``*_pb2.py`` below the needed folders; returns how many."""
    copied = 0
    for folder in NEEDED:
        for path in sorted((source / folder).rglob("*_pb2.py")):
            destination = target / path.relative_to(source)
            destination.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, destination)
            copied += 1
    if copied:
        (target / "tensorflow" / "__init__.py").write_text(INIT)
    return copied


if __name__ == "__main__":
    count = copy(site_packages(Path(sys.argv[1])), site_packages(Path(sys.argv[2])))
    if not count:
        sys.exit(f"no message classes below {sys.argv[1]}: is TensorFlow installed there?")
    print(f"copied {count} message modules")  # noqa: T201  # a script says what it did
