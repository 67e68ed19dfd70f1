"""Who may do what: every view's permission, and every role's. What is not in here cannot be used."""

from collections.abc import Mapping
from enum import StrEnum

from werkzeug.routing import Map

from modelyard.services.keys import Role


class Permission(StrEnum):
    """What a view lets somebody do, in words that fit after *may*."""

    READ_ABOUT = "read what the gateway is and can"
    DESCRIBE = "see what models take, and their state"
    PREDICT = "ask models"
    TELL = "look up answers, and say what is true of them"
    LOOK = "look at versions, rollouts, jobs, searches and triggers"
    MEASURE = "read metrics"
    TRAIN = "ask for jobs and searches, and end or retry their own"
    OVERRULE = "end or retry those of others"
    ROLL_OUT = "decide which version answers, and what starts jobs by itself"
    GIVE_KEYS = "list, create and revoke keys"


CHANGES = frozenset({Permission.TRAIN, Permission.ROLL_OUT, Permission.GIVE_KEYS})
"""Those whose use is written down."""
WHOLE = frozenset({Permission.MEASURE, Permission.GIVE_KEYS})
"""Those that concern all models at once: not for keys of some models."""

_ANYBODY = {Permission.READ_ABOUT, Permission.DESCRIBE}
_VIEWER = _ANYBODY | {Permission.LOOK, Permission.MEASURE}
_PREDICTOR = _ANYBODY | {Permission.PREDICT, Permission.TELL}
_TRAINER = _VIEWER | {Permission.TRAIN}
_OPERATOR = _TRAINER | _PREDICTOR | {Permission.OVERRULE, Permission.ROLL_OUT}
ROLES: Mapping[Role, frozenset[Permission]] = {
    Role.VIEWER: frozenset(_VIEWER),
    Role.PREDICTOR: frozenset(_PREDICTOR),
    Role.TRAINER: frozenset(_TRAINER),
    Role.OPERATOR: frozenset(_OPERATOR),
    Role.ADMIN: frozenset(Permission),
}
"""From the least to the most; a predictor and a viewer, or a trainer, see different things."""

PROBES = frozenset({"health.live", "health.ready", "v2.live", "v2.ready"})
"""Views that need no key: whoever restarts or routes around a process has none."""
DOCUMENTS = frozenset({"openapi.get_document", "docs.show"})
"""Views that need none where the settings say so."""
VIEWS: Mapping[str, Permission] = {
    "health.list_routes": Permission.READ_ABOUT,
    "health.get_version": Permission.READ_ABOUT,
    "v2.server": Permission.READ_ABOUT,
    "openapi.get_document": Permission.READ_ABOUT,
    "docs.show": Permission.READ_ABOUT,
    "tfs.other": Permission.READ_ABOUT,  # refuses, or calls the view that is meant
    "tfs.status": Permission.DESCRIBE,
    "tfs.metadata": Permission.DESCRIBE,
    "v2.metadata": Permission.DESCRIBE,
    "v2.model_ready": Permission.DESCRIBE,
    "v2.index": Permission.DESCRIBE,
    "models.list_models": Permission.DESCRIBE,
    "models.get_model": Permission.DESCRIBE,
    "predict.predict": Permission.PREDICT,
    "examples.classify": Permission.PREDICT,
    "examples.regress": Permission.PREDICT,
    "v2.infer": Permission.PREDICT,
    "feedback.record_feedback": Permission.TELL,
    "feedback.get_origin": Permission.TELL,
    "rollouts.get_rollout": Permission.LOOK,
    "rollouts.get_version": Permission.LOOK,
    "triggers.list_triggers": Permission.LOOK,
    "triggers.get_drift": Permission.LOOK,
    "jobs.list_jobs": Permission.LOOK,
    "jobs.get_job": Permission.LOOK,
    "jobs.stream_events": Permission.LOOK,
    "jobs.read_log": Permission.LOOK,
    "searches.list_searches": Permission.LOOK,
    "searches.get_search": Permission.LOOK,
    "health.read_metrics": Permission.MEASURE,
    "jobs.submit_job": Permission.TRAIN,
    "jobs.retry_job": Permission.TRAIN,
    "jobs.cancel_job": Permission.TRAIN,
    "searches.submit_search": Permission.TRAIN,
    "searches.end_search": Permission.TRAIN,
    "rollouts.roll_back": Permission.ROLL_OUT,
    "rollouts.promote": Permission.ROLL_OUT,
    "rollouts.change_rollout": Permission.ROLL_OUT,
    "triggers.put_trigger": Permission.ROLL_OUT,
    "triggers.remove_trigger": Permission.ROLL_OUT,
    "v2.change": Permission.ROLL_OUT,
    "keys.list_keys": Permission.GIVE_KEYS,
    "keys.create_key": Permission.GIVE_KEYS,
    "keys.revoke_key": Permission.GIVE_KEYS,
}


def roles_with(permission: Permission) -> tuple[Role, ...]:
    return tuple(role for role, permissions in ROLES.items() if permission in permissions)


def check(rules: Map) -> None:
    """Every view has a permission or is a probe, and every permission a view.

    Raises:
        RuntimeError: somebody added a view and did not say who may use it; or the other way round.
    """
    views = {rule.endpoint for rule in rules.iter_rules()}
    if differing := views ^ {*VIEWS, *PROBES}:
        raise RuntimeError(f"views and permissions differ: {', '.join(sorted(differing))}")
