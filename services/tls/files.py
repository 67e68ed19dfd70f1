"""Files of certificates and keys, in PEM: checked when settings are read, so that a fault is said at the start."""

import ssl
import stat
from pathlib import Path
from typing import Annotated

from pydantic import BeforeValidator

OWN_KEY, ROOTS_KEY = 0o600, 0o640
"""What a key's mode may be at most: of a user's own, and of root's, which a group then reads. These are libpq's rules
(PostgreSQL, 34.19.2), which reads the same key for the ledger."""
ROOT = 0


def read_path(given: object) -> object:
    """An empty value is none; raises ``ValueError`` if it is what the file should hold, and says nothing of it."""
    if isinstance(given, str) and ("-----BEGIN" in given or "\n" in given.strip()):
        raise ValueError("expected the path of a file, received what such a file holds")
    return given or None


PemFile = Annotated[Path | None, BeforeValidator(read_path)]


def check_certificates(path: Path | None) -> Path | None:
    """Raises ``ValueError`` if a file cannot be read, or has no certificate."""
    if path is None:
        return None
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(path)
    except ssl.SSLError as error:
        raise ValueError(f"{path} holds no certificate in PEM") from error
    except OSError as error:
        raise ValueError(describe_unreadable(path, error)) from error
    return path


def check_pair(certificate: Path | None, key: Path | None, of: str) -> None:
    """Checks a key, and that it belongs to a certificate. ``of``: the setting of the certificate.

    Raises:
        ValueError: it does not; one of the two is missing; or others can read the key.
    """
    if key is None and certificate is None:
        return
    if key is None:
        raise ValueError(f"expected the file of the key of {of}")
    if certificate is None:
        raise ValueError(f"expected {of} with it")
    check_mode(key)
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(certificate, key, refuse_passphrase)
    except ssl.SSLError as error:
        problem = f"does not belong to the certificate {certificate}" if is_mismatch(error) else "holds no key in PEM"
        raise ValueError(f"{key} {problem}") from error
    except OSError as error:
        raise ValueError(describe_unreadable(key, error)) from error


def is_mismatch(error: ssl.SSLError) -> bool:
    return error.reason in ("KEY_VALUES_MISMATCH", "KEY_TYPE_MISMATCH")


def refuse_passphrase() -> str:
    """Nobody is there to type it."""
    raise ValueError("the key is encrypted; expected one without a passphrase, in a file that nobody else reads")


def check_mode(key: Path) -> None:
    """Raises ``ValueError`` if others can read a key, or it is not there."""
    try:
        found = key.stat()
    except OSError as error:
        raise ValueError(describe_unreadable(key, error)) from error
    most = ROOTS_KEY if found.st_uid == ROOT else OWN_KEY
    mode = stat.S_IMODE(found.st_mode)
    if mode & ~most & 0o777:
        raise ValueError(
            f"others can use {key}: expected mode {most:04o} or less, received {mode:04o}. Its user's own may have "
            f"{OWN_KEY:04o}, root's {ROOTS_KEY:04o}, with a group that the process is in"
        )


def describe_unreadable(path: Path, error: OSError) -> str:
    return f"{path} cannot be read: {error.strerror}"
