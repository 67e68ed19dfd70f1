"""The gateway, as commands call it: ``modelyard.client`` with the command line's settings."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from modelyard.client import Client, ModelyardClientError, NotFound, Unauthenticated
from modelyard.client.options import find_key, make_options
from modelyard.models.sources.project_file import read_project

TIMEOUT_S = 35.0
"""Longer than a gateway waits for a version to be loaded."""
PATIENCE_S = 60.0
"""How long a command that has begun waits for a gateway that went away."""
PROBE_S = 2.0
PROBE = "modelyard"
"""A model that nobody has."""
KEY_SETTINGS, KEY_FILE_SETTING = ("api_key", "key"), "key_file"


def connect(url: str, key_file: Path | None = None) -> Client:
    """A client with the key of the file, of the environment, of the mounted secrets or of the project's file.

    What fails, fails at once: whoever typed the command is there to see it.
    """
    key = find_key(key_file=key_file) or find_project_key(read_project())
    return Client.from_options(make_options(url, key, timeout=TIMEOUT_S, retries=0))


def find_project_key(project: Mapping[str, Any]) -> str | None:
    """The key that the project's file holds, or names the file of; None if it has none."""
    for name in KEY_SETTINGS:
        if name in project:
            return find_key(str(project[name]))
    return find_key(key_file=str(project[KEY_FILE_SETTING])) if KEY_FILE_SETTING in project else None


def be_patient(client: Client, seconds: float = PATIENCE_S) -> Client:
    """The same client for a command that waits: it outlives a restart of the gateway."""
    return client.limited(timeout=seconds, retries=None)


def responds_ok(client: Client, path: str) -> bool:
    """Whether the path responds without an error."""
    try:
        client.limited(timeout=PROBE_S).call("GET", path)
    except ModelyardClientError:
        return False
    return True


def reaches_model_server(client: Client) -> bool:
    """Whether the gateway reaches the model server: then it says that it does not know a model.

    Raises:
        Unauthenticated: the gateway requires a key.
    """
    try:
        client.limited(timeout=PROBE_S).call("GET", f"/v1/models/{PROBE}")
    except NotFound:
        return True
    except Unauthenticated:
        raise
    except ModelyardClientError:
        return False
    return False
