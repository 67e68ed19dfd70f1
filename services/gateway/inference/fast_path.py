"""The commonest predictions without Flask: one image, text or batch of them, in either protocol, and an answer.

Flask's own share of such a request is as large as everything else the gateway does for it (decision 0011). What is told
here is the same story as in ``predict.py`` and ``v2.py``, from the same functions. Whatever is unusual, and whatever is
wrong before the model is asked, is left to the view: ``answer`` then returns None, and has done nothing.
"""

import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import structlog

from modelyard.models.errors import ModelyardError
from modelyard.models.types import Array
from modelyard.services.gateway import access_log as access
from modelyard.services.gateway.auth.principal import Caller
from modelyard.services.gateway.codecs import (
    request as payload,
)
from modelyard.services.gateway.codecs import (
    response as answers,
)
from modelyard.services.gateway.codecs import (
    tfs_json as json_form,
)
from modelyard.services.gateway.codecs import (
    tfs_json_fast as fast_json,
)
from modelyard.services.gateway.codecs.oip import request as v2_form
from modelyard.services.gateway.codecs.oip import response as v2_answer
from modelyard.services.gateway.codecs.request import Decoded
from modelyard.services.gateway.http import deadline, errors
from modelyard.services.gateway.http.deadline import Deadline
from modelyard.services.gateway.metrics import Metrics
from modelyard.services.gateway.serving.batching import Outputs
from modelyard.services.gateway.serving.interface import Interface
from modelyard.services.gateway.serving.predictor import Serving
from modelyard.services.gateway.serving.versions import KEY_HEADER
from modelyard.services.gateway.settings import GatewaySettings

log = structlog.get_logger()

NAME, NUMBER = "([a-zA-Z0-9_.-]{1,128})", "([0-9]{1,18})"
UNUSUAL = frozenset({"content-encoding", "origin", "x-request-class"})
"""Headers that ask for more than an answer."""
KEY = KEY_HEADER.lower()
SIGNATURE = json_form.DEFAULT_SIGNATURE

Headers = Mapping[str, str]
Written = tuple[list[tuple[str, str]], bytes]
"""Headers of a body, and the body."""


@dataclass(frozen=True)
class Question:
    """What a model is asked, and how its outputs are written."""

    signature: str
    inputs: Mapping[str, Array]
    until: Deadline
    write: Callable[[Outputs], Written]


@dataclass(frozen=True)
class Asking:
    """Who asks what for how long: all that a reader of bodies needs to know."""

    headers: Headers
    body: bytes
    interface: Interface
    limits: GatewaySettings
    until: Deadline
    request_id: str


@dataclass(frozen=True)
class Route:
    """One of the view's routes, with and without a version, and its reader; that raises or returns None as it likes."""

    path: re.Pattern[str]
    rule: str
    pinned_rule: str
    read: Callable[[Asking], Question | None]


@dataclass(frozen=True)
class Quick:
    """A whole answer."""

    status: int
    headers: list[tuple[str, str]]
    body: bytes


class FastLane:
    """Answers what it knows how to."""

    def __init__(self, serving: Serving, settings: GatewaySettings, metrics: Metrics) -> None:
        self._serving = serving
        self._settings = settings
        self._metrics = metrics

    async def answer(self, path: str, query: str, headers: Headers, body: bytes, caller: Caller) -> Quick | None:
        """The answer to one request; None leaves it to the view, which finds everything as it was."""
        matched = match(path)
        if matched is None or query or not UNUSUAL.isdisjoint(headers):
            return None
        route, found = matched
        if not caller.may_ask(found[1]):
            return None
        started = time.perf_counter()
        request_id = access.request_id(headers.get("x-request-id", ""))
        try:
            until = deadline.asked(headers.get("x-timeout-ms"), self._settings.predict_timeout_s)
            interface = self._serving.at_hand(found[1], int(found[2]) if found[2] else None, headers.get(KEY))
            if interface is None:
                return None
            question = route.read(Asking(headers, body, interface, self._settings, until, request_id))
        except ModelyardError:
            return None
        if question is None:
            return None
        status, (said, content), version = await self._ask(interface, question, request_id)
        took_s = time.perf_counter() - started
        rule = route.pinned_rule if found[2] else route.rule
        self._metrics.answered(rule, "POST", status, took_s)
        access.write_line(status, "POST", rule, took_s, interface.model, version, request_id, caller.name)
        said = [*said, ("content-length", str(len(content)))]
        return Quick(status, [*said, *access.headers_of(request_id, interface, version)], content)

    async def _ask(self, interface: Interface, question: Question, request_id: str) -> tuple[int, Written, int]:
        """Status, answer and version."""
        try:
            with self._metrics.in_flight.track_inprogress():
                outputs = await self._serving.predicted(interface, question.signature, question.inputs, question.until)
            self._serving.capture.keep(request_id, interface, question.inputs, outputs)
            return 200, question.write(outputs), outputs.version
        except ModelyardError as error:
            status, text, more = errors.told(error)
        except Exception as error:  # the outermost boundary of this lane, as the view's error handler
            log.exception("unexpected error", exc_info=error, request_id=request_id)
            status, text, more = 500, errors.opaque(request_id), []
        return status, ([*JSON, *more], answers.dumped({"error": text})), interface.version


# --- TensorFlow Serving's protocol ------------------------------------------------------------------------------------

JSON = [("content-type", "application/json")]


def read_v1(asking: Asking) -> Question | None:
    """JSON rows of numbers of a known shape or of texts, one raw image or text."""
    decoded = decode(asking.body, asking.headers.get("content-type", ""), asking.interface, asking.limits)
    if decoded is None:
        return None

    def write(outputs: Outputs) -> Written:
        return JSON, answers.content(decoded, outputs, asking.interface, asking.request_id)

    return Question(decoded.signature, decoded.inputs, asking.until, write)


def decode(body: bytes, content_type: str, interface: Interface, settings: GatewaySettings) -> Decoded | None:
    """Numbers, texts or one raw input; None if the body is anything else. Raises as the view would."""
    if len(body) > settings.max_json_bytes:
        return None
    if content_type in payload.RAW_TYPES:
        return decode_raw(body, content_type, interface, settings)
    if content_type not in payload.JSON_TYPES:
        return None
    inputs = fast_json.decode(body, interface, settings.max_instances)
    if inputs is None:
        inputs = fast_json.decode_texts(body, interface, settings.max_instances)
        if inputs is None:
            return None
        payload.check_inputs(inputs, interface.signatures[SIGNATURE], interface, settings)
    return Decoded(SIGNATURE, inputs, "row")


def decode_raw(body: bytes, content_type: str, interface: Interface, settings: GatewaySettings) -> Decoded | None:
    """One image or text, as the only element of the string input that takes it."""
    kind = payload.kind_of(interface)
    signature = payload.raw_signature(interface) if payload.RAW_TYPES[content_type] == kind else None
    if signature is None or (kind == "image" and len(body) > settings.max_image_bytes):
        return None
    return payload.raw(body, signature, interface, settings)


# --- the Open Inference Protocol --------------------------------------------------------------------------------------


def read_v2(asking: Asking) -> Question | None:
    """JSON or binary tensors, of numbers or strings, for any signature. Raises as the view would."""
    length = v2_form.header_length(asking.headers.get(v2_form.HEADER.lower()))
    if len(asking.body) > v2_form.most_bytes(length, asking.limits):
        return None
    asked = v2_form.asked(asking.body, length, asking.interface, asking.limits)

    def write(outputs: Outputs) -> Written:
        return v2_answer.written(asked, outputs, asking.interface)

    return Question(asked.signature, asked.inputs, asked.within(asking.until), write)


ROUTES = (
    Route(
        re.compile(f"/v1/models/{NAME}(?:/versions/{NUMBER})?:predict"),
        "/v1/models/<model:model>:predict",
        "/v1/models/<model:model>/versions/<version:version>:predict",
        read_v1,
    ),
    Route(
        re.compile(f"/v2/models/{NAME}(?:/versions/{NUMBER})?/infer"),
        "/v2/models/<model:model>/infer",
        "/v2/models/<model:model>/versions/<label:version>/infer",
        read_v2,
    ),
)


def match(path: str) -> tuple[Route, re.Match[str]] | None:
    """The route of a path, with the model's name and perhaps the version."""
    for route in ROUTES:
        if found := route.path.fullmatch(path):
            return route, found
    return None
