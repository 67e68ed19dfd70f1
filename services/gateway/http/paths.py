"""The grammar of paths below ``/v1/models`` and ``/v2/models``: of the RSGI app, the fast path and Flask's rules.

As in TensorFlow Serving (``model_servers/http_rest_api_util.cc``), a colon ends a name.
"""

import re
from collections.abc import Callable
from functools import lru_cache
from typing import NamedTuple

from werkzeug.routing import BaseConverter, Rule

from modelyard.services.gateway.http.errors import ServableNotFound, not_found_text

NAME = "[^/:]{1,255}"
"""A model or a label, whether it exists or not."""
MAX_DIGITS = 18
"""So many surely fit 64 bits."""
_VERSION = f"(?:/versions/([0-9]+)|/labels/({NAME}))?"
_PREDICTION = (
    f"/v1/models/({NAME}){_VERSION}:(?-i:(predict|classify|regress))|/v2/models/({NAME})(?:/versions/({NAME}))?/infer"
)
EXACT = re.compile(_PREDICTION)
ANY_CASE = re.compile(_PREDICTION, re.IGNORECASE)
"""TensorFlow Serving ignores case, but for the verb; Flask does not."""
STATUS = re.compile(f"/v1/models(?:/({NAME}))?{_VERSION}(/metadata)?", re.IGNORECASE)

V1_MODELS = (
    "/v1/models/<model:model>",
    "/v1/models/<model:model>/versions/<version:version>",
    "/v1/models/<model:model>/labels/<label:label>",
)
V2_MODELS = ("/v2/models/<model:model>", "/v2/models/<model:model>/versions/<label:version>")
"""A version of the Open Inference Protocol that is not a number is a label."""


class Servable(NamedTuple):
    """A model, and which version of it: a number, a label, or neither for the one that its rollout chooses."""

    model: str
    version: int | None = None
    label: str | None = None


class ModelPath(NamedTuple):
    """The path of a prediction, a status or metadata, cut into its parts."""

    verb: str
    """``predict``, ``classify``, ``regress``, ``infer``, ``status`` or ``metadata``."""
    model: str
    """Empty in the path of all models."""
    version: str | None
    label: str | None
    rule: str | None
    """Flask's; None where no rule of a prediction matches."""

    def servable(self) -> Servable:
        """The servable it names; raises as ``parse_servable``."""
        if self.verb == "infer":
            return parse_servable(self.model, self.version)
        return Servable(self.model, int(self.version) if self.version else None, self.label)


@lru_cache(maxsize=128)  # clients choose the paths, which may be long
def match_prediction(path: str) -> ModelPath | None:
    """The parts of a path, in any case; None if it is no prediction's."""
    exact = EXACT.fullmatch(path)
    found = exact or ANY_CASE.fullmatch(path)
    if found is None:
        return None
    model, version, label, verb, infer_model, infer_version = found.groups()
    if infer_model is not None:
        rule = f"{V2_MODELS[infer_version is not None]}/infer" if exact else None
        return ModelPath("infer", infer_model, infer_version, None, rule)
    fits = exact and len(version or "") <= MAX_DIGITS
    rule = f"{V1_MODELS[1 if version else 2 if label else 0]}:{verb}" if fits else None
    return ModelPath(verb, model, version, label, rule)


def match_status(path: str) -> ModelPath | None:
    """The parts of a path of TensorFlow Serving's status or metadata, in any case; None if it is neither."""
    found = STATUS.fullmatch(path)
    if found is None:
        return None
    return ModelPath("metadata" if found[4] else "status", found[1] or "", found[2], found[3], None)


def parse_servable(model: str, version: str | None) -> Servable:
    """A version of the Open Inference Protocol: a number or a label.

    Raises:
        ServableNotFound: a number with more digits than any version has.
    """
    if version is None or not (version.isascii() and version.isdecimal()):
        return Servable(model, label=version)
    if len(version) > MAX_DIGITS:
        raise ServableNotFound(not_found_text(model, version))
    return Servable(model, int(version))


class Name(BaseConverter):
    """A model or a label."""

    regex = NAME


class VersionNumber(BaseConverter):
    """More digits are judged by ``tfs_status.respond_to_other_path``."""

    regex = f"[0-9]{{1,{MAX_DIGITS}}}"

    def to_python(self, value: str) -> int:
        return int(value)


class Rest(BaseConverter):
    """The rest of a path, whatever it is."""

    regex = ".*"
    part_isolating = False
    weight = 1000


CONVERTERS: dict[str, type[BaseConverter]] = {"model": Name, "label": Name, "version": VersionNumber, "rest": Rest}


class MatchingRule(Rule):
    """Matches paths, and builds none: Werkzeug would compile two functions for each rule, half of what an app takes."""

    def _compile_builder(self, append_unknown: bool = True) -> Callable[..., tuple[str, str]]:  # noqa: ARG002  # Werkzeug's
        return _build_nothing


def _build_nothing(rule: Rule, **_: object) -> tuple[str, str]:
    raise NotImplementedError(f"no address is built from the rule {rule.rule}")
