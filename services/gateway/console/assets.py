"""Static files of the console, below one address that changes with any of them: browsers keep them for a year.

A file is read once, compressed once, and then answered from memory: all of them are a few hundred kilobytes.
"""

import gzip
import hashlib
import mimetypes
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path

from flask import Response, request

from modelyard.models.errors import UnknownName

ROOT = Path(__file__).parents[2] / "console"
STATIC = ROOT / "static"
TEMPLATES = ROOT / "templates"
FOREVER = "public, max-age=31536000, immutable"

COMPRESSED = (".css", ".js", ".svg")
TYPES = {".js": "text/javascript; charset=utf-8", ".css": "text/css; charset=utf-8"}


@dataclass(frozen=True)
class Asset:
    """One file."""

    content: bytes
    content_type: str

    @cached_property
    def compressed(self) -> bytes:
        return gzip.compress(self.content, 9, mtime=0)


class Assets:
    """All files, as they were when the process began."""

    @cached_property
    def files(self) -> dict[str, Asset]:
        """By path below ``static``."""
        found = sorted(path for path in STATIC.rglob("*") if path.is_file())
        return {path.relative_to(STATIC).as_posix(): read_asset(path) for path in found}

    @cached_property
    def digest(self) -> str:
        """Of all names and contents."""
        parts = (f"{name}\0{len(asset.content)}\0".encode() + asset.content for name, asset in self.files.items())
        digest = hashlib.sha256()
        for part in parts:
            digest.update(part)
        return digest.hexdigest()[:12]

    def address(self, name: str) -> str:
        """The path of a file; raises ``KeyError`` if there is no such file."""
        self.files[name]
        return f"/assets/{self.digest}/{name}"

    def respond(self, name: str) -> Response:
        """A file; raises ``UnknownName`` if there is no such file."""
        asset = self.files.get(name)
        if asset is None:
            raise UnknownName(f"no such file: {name[:64]!r}")
        response = Response(asset.content, content_type=asset.content_type)
        response.headers["Cache-Control"] = FOREVER
        if name.endswith(COMPRESSED):
            response.headers["Vary"] = "Accept-Encoding"
            if "gzip" in request.headers.get("Accept-Encoding", ""):
                response.data = asset.compressed
                response.headers["Content-Encoding"] = "gzip"
        return response


@cache
def load_assets() -> Assets:
    """Those of this process."""
    return Assets()


@cache
def read_asset(path: Path) -> Asset:
    kind = TYPES.get(path.suffix) or mimetypes.guess_type(path.name)[0]
    return Asset(path.read_bytes(), kind or "application/octet-stream")
