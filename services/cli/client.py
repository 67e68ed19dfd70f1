"""The gateway's HTTP API, as the command line uses it."""

import json
import mimetypes
import os
import re
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx

from modelyard.models.errors import ModelyardError
from modelyard.services.cli.settings import ClientSettings

TIMEOUT_S = 35.0
MAX_RETRY_S, RETRY_S = 60.0, 0.5
"""How long a command that has begun waits for a gateway that went away, and how often it tries."""
RETRY_LATER_STATUSES = (httpx.codes.SERVICE_UNAVAILABLE, httpx.codes.GATEWAY_TIMEOUT)

NO_KEY = (
    "the gateway requires a valid API key: put one into MODELYARD_KEY, or into the file modelyard_key of the folder "
    "MODELYARD_SECRETS_DIR; `modelyard keys create` makes one"
)


class GatewayUnreachable(ModelyardError):
    """No gateway answers at the address."""


class Refused(ModelyardError):
    """The gateway answered with an error, which is the text."""


class TryLater(Refused):
    """The gateway cannot answer now, or did not in time; a retry may succeed."""


class Client:
    """Calls one gateway, with the key of the settings."""

    def __init__(self, url: str, settings: ClientSettings | None = None) -> None:
        self.url = url.rstrip("/")
        headers = (settings or ClientSettings.load()).headers
        self._http = httpx.Client(base_url=self.url, timeout=TIMEOUT_S, trust_env=False, headers=headers)

    def get(self, path: str, **query: Any) -> Any:
        """Raises ``GatewayUnreachable`` or ``Refused``."""
        parameters = {name: value for name, value in query.items() if value is not None}
        return self._call("GET", path, params=parameters).json()

    def text(self, path: str) -> str:
        """Raises ``GatewayUnreachable`` or ``Refused``."""
        return self._call("GET", path).text

    def post(self, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        """Raises ``GatewayUnreachable`` or ``Refused``."""
        found: dict[str, Any] = self._call("POST", path, json=body).json()
        return found

    def put(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        """Raises ``GatewayUnreachable`` or ``Refused``."""
        found: dict[str, Any] = self._call("PUT", path, json=body).json()
        return found

    def delete(self, path: str) -> None:
        """Raises ``GatewayUnreachable`` or ``Refused``."""
        self._call("DELETE", path)

    def get_with_retries(self, path: str, retry_s: float = MAX_RETRY_S) -> Any:
        """As ``get``, of a gateway that may be restarted meanwhile: what may pass is an error after ``retry_s``."""
        return self._retry(retry_s, lambda: self.get(path))

    def submit(self, job: dict[str, Any]) -> dict[str, Any]:
        return self.post("/api/jobs", job)

    def submit_with_retries(self, job: dict[str, Any], retry_s: float = MAX_RETRY_S) -> dict[str, Any]:
        """As ``submit``, with the retries of ``get_with_retries``; it is one job, however often it is sent."""
        headers = {"Idempotency-Key": secrets.token_hex(16)}
        found: dict[str, Any] = self._retry(
            retry_s, lambda: self._call("POST", "/api/jobs", json=job, headers=headers).json()
        )
        return found

    def cancel(self, job_id: str) -> dict[str, Any]:
        """Cancels a job that is queued or runs; raises ``Refused`` if it has ended, or is being published."""
        return self.post(f"/api/jobs/{job_id}:cancel")

    def predict(self, model: str, content: bytes, content_type: str, version: int | None = None) -> Any:
        pinned = f"/versions/{version}" if version else ""
        headers = {"Content-Type": content_type}
        return self._call("POST", f"/v1/models/{model}{pinned}:predict", content=content, headers=headers).json()

    def responds_ok(self, path: str) -> bool:
        """True if the path responds with 200."""
        try:
            return self._http.get(path, timeout=2).status_code == httpx.codes.OK
        except httpx.HTTPError:
            return False

    def reaches_model_server(self) -> bool:
        """True if the gateway reaches the model server: it answers 404 for an unknown model.

        Raises:
            Refused: the gateway requires a key.
        """
        try:
            status = self._http.get("/v1/models/modelyard", timeout=2).status_code
        except httpx.HTTPError:
            return False
        if status == httpx.codes.UNAUTHORIZED:
            raise Refused(NO_KEY)
        return status == httpx.codes.NOT_FOUND

    @staticmethod
    def _retry(retry_s: float, call: Callable[[], Any]) -> Any:
        from tenacity import Retrying, retry_if_exception_type, stop_after_delay, wait_fixed  # only for what waits

        retry = retry_if_exception_type((GatewayUnreachable, TryLater))
        return Retrying(retry=retry, stop=stop_after_delay(retry_s), wait=wait_fixed(RETRY_S), reraise=True)(call)

    def _call(self, method: str, path: str, **options: Any) -> httpx.Response:
        try:
            response = self._http.request(method, path, **options)
        except httpx.HTTPError as error:
            raise GatewayUnreachable(
                f"no gateway answers at {self.url} ({error or type(error).__name__}); "
                "start one with `modelyard up`, or `make up` in a checkout"
            ) from error
        if response.status_code == httpx.codes.UNAUTHORIZED:
            raise Refused(NO_KEY)
        if response.status_code in RETRY_LATER_STATUSES:
            raise TryLater(_error_text(response))
        if response.is_error:
            raise Refused(_error_text(response))
        return response


def _error_text(response: httpx.Response) -> str:
    try:
        return str(response.json()["error"])
    except (ValueError, KeyError, TypeError):
        return f"{response.status_code} {response.reason_phrase}"


FILE_NAME = re.compile(r"(?:~|\.{0,2}/)\S*|\S+\.(?:png|jpe?g|gif|webp|bmp|tiff?|json|jsonl|txt|csv)", re.IGNORECASE)
"""What is meant as a file's name, whether there is such a file or not: a path, or a name with a usual ending."""
BODY_KEYS = frozenset({"instances", "inputs", "signature_name"})
"""Of TensorFlow Serving's bodies."""
IMAGE_TYPES = {b"\x89PNG": "image/png", b"\xff\xd8\xff": "image/jpeg"}


def read_prediction_body(given: str, standard_input: bytes | None = None) -> tuple[bytes, str]:
    """A prediction body and its content type, from a file's name, ``-`` (standard input), JSON or a text.

    Images are known by their first bytes, JSON by its first character; anything else is what its name says, or text.
    A JSON object that is no body of ``:predict`` is one row of named inputs.

    Raises:
        ModelyardError: what looks like a file's name is none's.
    """
    if given == "-":
        return complete_row(standard_input or b""), find_body_type(standard_input or b"")
    if os.path.isfile(given):  # noqa: PTH113  # pathlib raises an error for a text that is too long for a name
        content = Path(given).read_bytes()
        return complete_row(content), find_body_type(content, given)
    if FILE_NAME.fullmatch(given):
        wrong = "a folder, not a file" if os.path.isdir(given) else "no such file"  # noqa: PTH112  # likewise
        raise ModelyardError(f"{wrong}: {given}; if it is a text, send it through a pipe to `-`")
    content = given.encode()
    return (content, "text/plain") if read_object(content) is None else (complete_row(content), "application/json")


def complete_row(content: bytes) -> bytes:
    """A JSON object of named inputs as a body with one row; anything else as it is."""
    parsed = read_object(content)
    if parsed is None or not BODY_KEYS.isdisjoint(parsed):
        return content
    return b'{"instances": [' + content + b"]}"


def read_object(content: bytes) -> dict[str, Any] | None:
    """A JSON object; None for anything else, of which the gateway says whether it takes it."""
    try:
        parsed = json.loads(content) if content.lstrip()[:1] == b"{" else None
    except ValueError:
        return None
    return parsed if isinstance(parsed, dict) else None


def find_body_type(content: bytes, name: str = "") -> str:
    """The content type of a body."""
    for magic, content_type in IMAGE_TYPES.items():
        if content.startswith(magic):
            return content_type
    named = mimetypes.guess_type(name)[0] or ""
    if named.startswith("image/") or named == "text/csv":  # the gateway says which kinds it takes
        return named
    return "application/json" if content.lstrip()[:1] == b"{" else "text/plain"
