"""Certificates for tests, in files as processes are given them: an authority, and what it signs."""

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import trustme

from modelyard.models.tfserving.tls_files import TlsFiles

LOOPBACK = ("127.0.0.1", "localhost")
KEY_MODE = 0o600


@dataclass
class Authority:
    """Its files lie in a folder of its own."""

    folder: Path
    ca: trustme.CA = field(default_factory=lambda: trustme.CA(key_type=trustme.KeyType.ECDSA))

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        self.ca.cert_pem.write_to_path(str(self.file))

    @property
    def file(self) -> Path:
        return self.folder / "ca.crt"

    def issue(self, who: str, *names: str, expired: bool = False) -> TlsFiles:
        """A certificate for these names, loopback unless given, and its key; written anew in the same place."""
        until = {"not_after": datetime.now(UTC) - timedelta(days=1)} if expired else {}
        made = self.ca.issue_cert(*(names or LOOPBACK), key_type=trustme.KeyType.ECDSA, **until)
        certificate, key = self.folder / f"{who}.crt", self.folder / f"{who}.key"
        certificate.write_bytes(b"".join(each.bytes() for each in made.cert_chain_pems))
        key.touch(KEY_MODE)
        key.chmod(KEY_MODE)
        made.private_key_pem.write_to_path(str(key))
        return TlsFiles(self.file, certificate, key)


def settings_of(files: TlsFiles) -> dict[str, str]:
    """Variables of a process that has these files."""
    named = {
        "MODELYARD_TLS_CA": files.ca,
        "MODELYARD_TLS_CERTIFICATE": files.certificate,
        "MODELYARD_TLS_KEY": files.key,
    }
    return {name: str(path) for name, path in named.items() if path}
