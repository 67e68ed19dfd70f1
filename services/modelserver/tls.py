"""TLS of the model server: what it shows, read again when its files change.

From files of our own flags, or from ``--ssl_config_file``: TensorFlow Serving's ``SSLConfig`` in text format, which
holds the PEM itself (tensorflow/serving ``config/ssl_config.proto``). It is in no published package, so its fields are
declared here.
"""

from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import grpc
import structlog
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, text_format

from modelyard.services.modelserver.errors import InvalidConfig
from modelyard.services.modelserver.settings import Settings
from modelyard.services.tls.files import check_certificates, check_mode, check_pair

log = structlog.get_logger()

_FIELD = descriptor_pb2.FieldDescriptorProto
PEM_FIELDS = ("server_key", "server_cert", "custom_ca")


class Shown(NamedTuple):
    """What a server shows, and whom it lets in."""

    key: bytes
    certificate: bytes
    client_ca: bytes | None
    """Authorities of clients' certificates; None: clients need none."""


def make_server_credentials(settings: Settings) -> grpc.ServerCredentials | None:
    """Credentials that follow their files: each connection gets what they hold then. None: the server is plain.

    Raises:
        InvalidConfig: a file cannot be read, does not belong to the others, or others can read the key.
    """
    if settings.ssl_config_file is not None:
        watched = Watched((settings.ssl_config_file,), lambda: read_ssl_config(settings.ssl_config_file or Path()))
    elif settings.tls_certificate_file is not None and settings.tls_key_file is not None:
        paths = settings.tls_certificate_file, settings.tls_key_file, settings.tls_client_ca_file
        watched = Watched(tuple(filter(None, paths)), lambda: read_files(*paths))
    else:
        return None
    needs_client = watched.shown.client_ca is not None
    return grpc.dynamic_ssl_server_credentials(convert(watched.shown), watched.fetch, needs_client)


class Watched:
    """The files, and what was in them when they were last in order."""

    def __init__(self, paths: Sequence[Path], read: Callable[[], Shown]) -> None:
        """Raises ``InvalidConfig``."""
        self._paths = paths
        self._read = read
        self._stamp = self._read_stamp()
        self.shown = read()

    def fetch(self) -> Any:
        """Asked by gRPC before each connection: None where nothing has changed, or what there is now is of no use."""
        stamp = self._read_stamp()
        if stamp == self._stamp:
            return None
        self._stamp = stamp
        try:
            found = self._read()
            if (found.client_ca is None) is not (self.shown.client_ca is None):
                raise InvalidConfig("whether clients need a certificate changes with a restart only")
        except InvalidConfig as error:
            log.warning("certificates not exchanged", cause=str(error))
            return None
        self.shown = found
        log.info("certificates exchanged")
        return convert(found)

    def _read_stamp(self) -> tuple[int, ...]:
        try:
            return tuple(path.stat().st_mtime_ns for path in self._paths)
        except OSError:
            return ()


def convert(shown: Shown) -> Any:
    return grpc.ssl_server_certificate_configuration([(shown.key, shown.certificate)], shown.client_ca)


def read_files(certificate: Path, key: Path, client_ca: Path | None) -> Shown:
    """Raises ``InvalidConfig``."""
    try:
        check_certificates(certificate)
        check_certificates(client_ca)
        check_pair(certificate, key, "--tls_certificate_file")
        return Shown(key.read_bytes(), certificate.read_bytes(), client_ca.read_bytes() if client_ca else None)
    except (ValueError, OSError) as error:
        raise InvalidConfig(f"TLS: {error}") from error


def read_ssl_config(path: Path) -> Shown:
    """Raises ``InvalidConfig``."""
    try:
        check_mode(path)
        text = path.read_text()
    except (ValueError, OSError) as error:
        raise InvalidConfig(f"--ssl_config_file: {error}") from error
    try:
        found: Any = text_format.Parse(text, _message_class()())
    except text_format.ParseError as error:
        place = str(error).partition(" : ")[0]  # the rest quotes what may be the key
        raise InvalidConfig(
            f"--ssl_config_file: {path} is no text-format SSLConfig; see its line:column {place}"
        ) from None
    if not found.server_key or not found.server_cert:
        raise InvalidConfig(f"--ssl_config_file: {path} lacks server_key or server_cert")
    if found.client_verify and not found.custom_ca:
        raise InvalidConfig(f"--ssl_config_file: {path} has client_verify, and no custom_ca to verify by")
    ca = found.custom_ca.encode() if found.client_verify else None
    return Shown(found.server_key.encode(), found.server_cert.encode(), ca)


@cache
def _message_class() -> Any:
    file = descriptor_pb2.FileDescriptorProto(name="modelyard/ssl_config.proto", package="modelyard", syntax="proto3")
    message = file.message_type.add(name="SSLConfig")
    for number, name in enumerate(PEM_FIELDS, start=1):
        message.field.add(name=name, number=number, label=_FIELD.LABEL_OPTIONAL, type=_FIELD.TYPE_STRING)
    message.field.add(name="client_verify", number=4, label=_FIELD.LABEL_OPTIONAL, type=_FIELD.TYPE_BOOL)
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(file.SerializeToString())
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("modelyard.SSLConfig"))
