"""Routines of models, rollouts and triggers."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from enum import Enum
from typing import Any, Final, Literal

from modelyard.client.records import Model, Models, ModelSummary, Pool, Rollout, Trigger
from modelyard.client.steps import Routine, encode_path, get, send_json


class Unchanged(Enum):
    """The type of ``UNCHANGED``."""

    UNCHANGED = "unchanged"


UNCHANGED: Final = Unchanged.UNCHANGED
"""A role that stays as it is; None ends it."""


def list_models() -> Routine[Models]:
    """Models that are served, that can be trained, and whose file is broken."""
    reply = yield get("/api/models")
    found = reply.json()
    served = [ModelSummary.read(each) for each in found["models"]]
    broken = {each["name"]: each["error"] for each in found["broken"]}
    return Models(raw=found, served=served, trainable=found["trainable"], broken=broken)


def get_model(model: str) -> Routine[Model]:
    """A model with all its versions, and what it takes."""
    reply = yield get(encode_path("api", "models", model))
    return Model.read(reply.json())


def get_version(model: str, version: int) -> Routine[dict[str, Any]]:
    """A version's decision record: data, recipe, verdict, environment, and every change that names it."""
    reply = yield get(encode_path("api", "models", model, "versions", version))
    found: dict[str, Any] = reply.json()
    return found


def get_card(model: str, version: int) -> Routine[dict[str, Any]]:
    """A version's model card: what it was made for, what it does on kinds of input, where it fails."""
    reply = yield get(encode_path("api", "models", model, "versions", version, "card"))
    found: dict[str, Any] = reply.json()
    return found


def get_card_text(model: str, version: int) -> Routine[str]:
    """The same as Markdown, in the form of Hugging Face's."""
    request = get(encode_path("api", "models", model, "versions", version, "card"))
    reply = yield replace(request, headers={"Accept": "text/markdown"})
    text: str = reply.content.decode()
    return text


def get_rollout(model: str) -> Routine[Rollout]:
    """The roles of a model's versions, what was observed of them, and the history."""
    reply = yield get(encode_path("api", "models", model, "rollout"))
    return Rollout.read(reply.json())


def promote(model: str, version: int, *, reason: str = "", force: bool = False) -> Routine[Rollout]:
    """Makes a version stable, once every model server gives its golden answers; takes up to half a minute.

    Raises:
        Conflict: the gate rejected it (unless ``force`` comes with a reason), or it answers otherwise than in training.
    """
    body = {"version": version, "reason": reason, "force": force}
    reply = yield send_json("POST", encode_path("api", "models", model, verb="promote"), body)
    return Rollout.read(reply.json())


def roll_back(model: str, reason: str = "") -> Routine[Rollout]:
    """Makes the previous stable version stable again, at once; raises ``Conflict`` if there is none."""
    reply = yield send_json("POST", encode_path("api", "models", model, verb="rollback"), {"reason": reason})
    return Rollout.read(reply.json())


def move(model: str, pool: str, reason: str = "") -> Routine[Rollout]:
    """Moves a model to another pool of model servers, once these have loaded it; takes up to half a minute.

    Raises:
        Conflict: a server there cannot load it, answers otherwise than in training, or has too little memory.
    """
    reply = yield send_json("POST", encode_path("api", "models", model, verb="move"), {"pool": pool, "reason": reason})
    return Rollout.read(reply.json())


def list_pools() -> Routine[list[Pool]]:
    """The pools of model servers, the default one first, and the versions that each has loaded."""
    reply = yield get("/api/pools")
    return [Pool.read(each) for each in reply.json()["pools"]]


def change_rollout(
    model: str,
    *,
    canary: int | Unchanged | None = UNCHANGED,
    percent: float | None = None,
    judge: Literal["full", "abort-only", "off"] = "full",
    steps: Sequence[Mapping[str, float | int]] = (),
    enough: int | None = None,
    shadow: int | Unchanged | None = UNCHANGED,
    labels: Mapping[str, int | None] | None = None,
    fallback: bool | None = None,
    reason: str = "",
    force: bool = False,
) -> Routine[Rollout]:
    """Gives versions roles, or ends them with None; with nothing to change, the rollout as it is.

    Args:
        model: whose versions.
        canary: version that gets ``percent`` of the requests.
        percent: of the requests that name no version; 10, or the first step, unless given.
        judge: ``full``: analysis promotes the canary, or ends it; ``abort-only``: it may end it alone; ``off``.
        steps: shares one after the other, ``{"percent", "enough"}`` each.
        enough: answers that are enough for the next step, or a promotion.
        shadow: version that gets copies of requests.
        labels: version by label; None removes the label.
        fallback: whether the version before answers while the stable one cannot be loaded.
        reason: kept in the model's history.
        force: although the gate rejected it; needs a reason.
    """
    body: dict[str, Any] = {}
    if canary is not UNCHANGED:
        asked = {"version": canary, "percent": percent, "judge": judge, "steps": list(steps), "enough": enough}
        body["canary"] = canary and {name: value for name, value in asked.items() if value not in (None, [])}
    if shadow is not UNCHANGED:
        body["shadow"] = shadow
    if labels:
        body["labels"] = dict(labels)
    if fallback is not None:
        body["fallback"] = fallback
    if not body:
        return (yield from get_rollout(model))
    path = encode_path("api", "models", model, "rollout")
    reply = yield send_json("POST", path, body | {"reason": reason, "force": force})
    return Rollout.read(reply.json())


# --- triggers ---------------------------------------------------------------------------------------------------------


def list_triggers(model: str) -> Routine[list[Trigger]]:
    """A model's triggers."""
    reply = yield get(encode_path("api", "models", model, "triggers"))
    return [Trigger.read(each) for each in reply.json()["triggers"]]


def set_trigger(
    model: str,
    name: str,
    *,
    cron: str | None = None,
    feedback: int | None = None,
    floor: float | None = None,
    psi: float | None = None,
    job: Mapping[str, Any] | None = None,
    cooldown_s: float = 86_400.0,
    per_week: int = 7,
) -> Routine[Trigger]:
    """Sets a trigger, or replaces it: one of ``cron``, ``feedback``, ``floor`` (of accuracy) and ``psi`` (of drift)."""
    body: dict[str, Any] = {"job": dict(job or {}), "cooldown_s": cooldown_s, "per_week": per_week}
    chosen = {"cron": cron, "feedback": feedback, "psi": psi, "quality": None if floor is None else {"floor": floor}}
    body |= {key: value for key, value in chosen.items() if value is not None}
    reply = yield send_json("PUT", encode_path("api", "models", model, "triggers", name), body)
    return Trigger.read(reply.json())


def remove_trigger(model: str, name: str) -> Routine[None]:
    """Removes a trigger."""
    yield send_json("DELETE", encode_path("api", "models", model, "triggers", name), None)
