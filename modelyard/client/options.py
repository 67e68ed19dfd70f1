"""Options of a client: where the gateway is, with which key, and how long it is tried."""

import os
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from modelyard.client.errors import InvalidInput

DEFAULT_URL = "http://127.0.0.1:8080"
URL_VARIABLE = "MODELYARD_URL"
KEY_VARIABLES = ("MODELYARD_API_KEY", "MODELYARD_KEY")
KEY_FILE_VARIABLE = "MODELYARD_KEY_FILE"
SECRETS_VARIABLE, SECRETS, SECRET_FILE = "MODELYARD_SECRETS_DIR", "/run/secrets", "modelyard_key"
"""Where container engines put a key: its file has this name."""


@dataclass(frozen=True)
class Options:
    """Options of a client. They can be pickled; their text never shows the key."""

    url: str
    key: str | None = field(default=None, repr=False)
    timeout_s: float = 60.0
    """Of one call, all tries and the pauses between them together."""
    retries: int | None = 3
    """Tries after the first one; None: until the time is up."""
    max_connections: int = 20

    @property
    def is_loopback(self) -> bool:
        """Whether the gateway is on this machine: no proxy stands between."""
        return urlsplit(self.url).hostname in ("127.0.0.1", "localhost", "::1")


def make_options(
    url: str | None = None,
    key: str | None = None,
    *,
    key_file: str | Path | None = None,
    timeout: float = 60.0,
    retries: int | None = 3,
    max_connections: int = 20,
) -> Options:
    """Checked options; what is not given is read from the environment.

    Raises:
        InvalidInput: no URL of HTTP, or a key's file that cannot be read.
    """
    address = (url or os.environ.get(URL_VARIABLE) or DEFAULT_URL).rstrip("/")
    parts = urlsplit(address)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise InvalidInput(f"url: expected http://HOST:PORT or https://HOST, received {address[:80]!r}")
    if not timeout > 0:
        raise InvalidInput(f"timeout: expected seconds, more than 0, received {timeout}")
    return Options(address, find_key(key, key_file), timeout, retries, max_connections)


def find_key(key: str | None = None, key_file: str | Path | None = None) -> str | None:
    """The key: the one that is given, or in the given file, or of the environment; None if there is none.

    Raises:
        InvalidInput: it is empty, or its file cannot be read.
    """
    if key is not None:
        return _check_key(key, "key")
    if key_file is not None:
        return _read_key(Path(key_file))
    for name in KEY_VARIABLES:
        if name in os.environ:
            return _check_key(os.environ[name], name)
    if named := os.environ.get(KEY_FILE_VARIABLE):
        return _read_key(Path(named))
    mounted = Path(os.environ.get(SECRETS_VARIABLE) or SECRETS) / SECRET_FILE
    return _read_key(mounted) if mounted.is_file() else None


def _read_key(path: Path) -> str:
    try:
        return _check_key(path.read_text(), f"key file {path}")
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInput(f"key file {path}: {getattr(error, 'strerror', None) or 'expected text'}") from None


def _check_key(key: str, where: str) -> str:
    found = key.strip()
    if not found or not found.isascii() or not found.isprintable():
        raise InvalidInput(
            f"{where}: expected an API key, as `modelyard keys create` prints it, received {_what(found)}"
        )
    return found


def _what(text: str) -> str:
    return "another text" if text else "nothing"
