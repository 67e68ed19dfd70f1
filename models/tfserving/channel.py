"""Credentials of channels to model servers: none where they are plain, else by files."""

from collections.abc import Sequence
from typing import Any

import grpc

from modelyard.models.tfserving.messages import CHANNEL_OPTIONS, ServingFailed
from modelyard.models.tfserving.tls_files import TlsFiles

SOCKET = "unix:"
NAME_OPTION = "grpc.ssl_target_name_override"
Options = Sequence[tuple[str, Any]]


def make_credentials(address: str, tls: TlsFiles | None) -> grpc.ChannelCredentials | None:
    """Credentials by the files as they are now; None: the channel is plain.

    Args:
        address: to a unix socket it is plain: who may open that file is the system's affair.

    Raises:
        ServingFailed: UNAVAILABLE; a file cannot be read.
    """
    if tls is None or address.startswith(SOCKET):
        return None
    try:
        ca, key, certificate = (path and path.read_bytes() for path in (tls.ca, tls.key, tls.certificate))
    except OSError as error:
        cause = f"{error.filename} cannot be read: {error.strerror}"
        raise ServingFailed(grpc.StatusCode.UNAVAILABLE, cause) from error
    return grpc.ssl_channel_credentials(ca, key, certificate)


def make_options(name: str | None) -> Options:
    """Options of a channel to a server whose certificate is for this name; None: for its address."""
    return [*CHANNEL_OPTIONS, (NAME_OPTION, name)] if name else CHANNEL_OPTIONS
