"""The files of a connection over TLS. Light: settings and jobs name them, and only who connects reads them."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Self


@dataclass(frozen=True)
class TlsFiles:
    """Files in PEM: whom to believe, and who we are."""

    ca: Path | None = None
    """Certificate authorities that the other side has to be of; None: those that the library knows."""
    certificate: Path | None = None
    """Ours, with its key beside it, for servers that want to know who calls (mutual TLS)."""
    key: Path | None = None

    @property
    def texts(self) -> Mapping[str, str]:
        """For another process: the paths that there are."""
        return {name: str(path) for name, path in asdict(self).items() if path}

    @classmethod
    def from_texts(cls, found: Mapping[str, str]) -> Self:
        return cls(**{name: Path(path) for name, path in found.items()})

    @property
    def stamp(self) -> tuple[int, ...]:
        """Another one, once a file has changed; empty while one is away."""
        try:
            return tuple(path.stat().st_mtime_ns for path in filter(None, (self.ca, self.certificate, self.key)))
        except OSError:  # it is just being exchanged
            return ()
