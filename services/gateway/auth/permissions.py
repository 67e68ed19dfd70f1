"""Permissions of every view and every role. A view that is not in here cannot be used."""

from collections.abc import Mapping
from enum import StrEnum

from werkzeug.routing import Map

from modelyard.services.keys import Role


class Permission(StrEnum):
    """What a view allows, in words that fit after *may*."""

    READ_SERVICE = "read the gateway's version, routes and API documents"
    READ_MODELS = "read models' inputs and their state"
    PREDICT = "request predictions"
    GIVE_FEEDBACK = "read captured predictions, and send feedback on them"
    READ = "read versions, rollouts, jobs, searches and triggers"
    READ_METRICS = "read metrics"
    TRAIN = "submit jobs and searches, and cancel or retry their own"
    MANAGE_ALL_JOBS = "cancel or retry those of others"
    ROLL_OUT = "change rollouts and triggers"
    MANAGE_KEYS = "list, create and revoke keys"
    READ_AUDIT = "read the audit trail"


AUDITED = frozenset({Permission.TRAIN, Permission.ROLL_OUT, Permission.MANAGE_KEYS})
"""Permissions whose use is recorded in the audit log."""
ALL_MODELS_ONLY = frozenset({Permission.READ_METRICS, Permission.MANAGE_KEYS, Permission.READ_AUDIT})
"""Permissions that concern all models at once: not for keys of some models."""

_ANYBODY = {Permission.READ_SERVICE, Permission.READ_MODELS}
_VIEWER = _ANYBODY | {Permission.READ, Permission.READ_METRICS}
_PREDICTOR = _ANYBODY | {Permission.PREDICT, Permission.GIVE_FEEDBACK}
_TRAINER = _VIEWER | {Permission.TRAIN, Permission.PREDICT}  # who trains a version must be able to try it
_OPERATOR = _TRAINER | _PREDICTOR | {Permission.MANAGE_ALL_JOBS, Permission.ROLL_OUT}
ROLES: Mapping[Role, frozenset[Permission]] = {
    Role.VIEWER: frozenset(_VIEWER),
    Role.PREDICTOR: frozenset(_PREDICTOR),
    Role.TRAINER: frozenset(_TRAINER),
    Role.OPERATOR: frozenset(_OPERATOR),
    Role.ADMIN: frozenset(Permission),
}
"""In ascending order, but predictor and viewer, or trainer, have different permissions."""

PROBES = frozenset({"health.live", "health.ready", "v2.live", "v2.ready"})
"""Views that need no key: supervisors and load balancers have none."""
PUBLIC = frozenset({"console.get_asset", "console.show_sign_in", "keys.sign_in"})
"""Views that need no key: they hold nothing of anybody, or take a key themselves."""
DOCUMENTS = frozenset({"openapi.get_document", "docs.show"})
"""Views that need no key with ``MODELYARD_PUBLIC_DOCS``."""
VIEWS: Mapping[str, Permission] = {
    "health.list_routes": Permission.READ_SERVICE,
    "health.get_release": Permission.READ_SERVICE,
    "v2.server": Permission.READ_SERVICE,
    "openapi.get_document": Permission.READ_SERVICE,
    "docs.show": Permission.READ_SERVICE,
    "tfs.other": Permission.READ_SERVICE,  # refuses, or calls the view that is meant
    "tfs.status": Permission.READ_MODELS,
    "tfs.metadata": Permission.READ_MODELS,
    "v2.metadata": Permission.READ_MODELS,
    "v2.model_ready": Permission.READ_MODELS,
    "v2.index": Permission.READ_MODELS,
    "models.list_models": Permission.READ_MODELS,
    "models.get_model": Permission.READ_MODELS,
    "predict.predict": Permission.PREDICT,
    "examples.classify": Permission.PREDICT,
    "examples.regress": Permission.PREDICT,
    "v2.infer": Permission.PREDICT,
    "feedback.record_feedback": Permission.GIVE_FEEDBACK,
    "feedback.get_origin": Permission.GIVE_FEEDBACK,
    "answers.list_answers": Permission.GIVE_FEEDBACK,
    "answers.get_picture": Permission.GIVE_FEEDBACK,
    "feedback_summary.get_feedback": Permission.GIVE_FEEDBACK,
    "rollouts.get_rollout": Permission.READ,
    "rollouts.get_version": Permission.READ,
    "pools.list_pools": Permission.READ,
    "canary.get_canary": Permission.READ,
    "traffic.list_traffic": Permission.READ,
    "traffic.get_traffic": Permission.READ,
    "evaluations.get_evaluation": Permission.READ,
    "evaluations.get_job_evaluation": Permission.READ,
    "mistakes.list_mistakes": Permission.READ,
    "mistakes.list_job_mistakes": Permission.READ,
    "versions.get_version_uses": Permission.READ,
    "versions.list_version_files": Permission.READ,
    "cards.get_card": Permission.READ,
    "triggers.list_triggers": Permission.READ,
    "triggers.get_drift": Permission.READ,
    "jobs.list_jobs": Permission.READ,
    "jobs.get_job": Permission.READ,
    "jobs.stream_events": Permission.READ,
    "jobs.read_log": Permission.READ,
    "job_history.get_job_curves": Permission.READ,
    "job_history.get_job_recipe": Permission.READ,
    "job_history.compare_jobs": Permission.READ,
    "job_history.export_comparison": Permission.READ,
    "job_history.export_curves": Permission.READ,
    "searches.list_searches": Permission.READ,
    "searches.get_search": Permission.READ,
    "queue.list_workers": Permission.READ,
    "queue.read_queue": Permission.READ,
    "recipes.list_recipes": Permission.READ,
    "health.read_metrics": Permission.READ_METRICS,
    "health.read_metrics_as_tensorflow_serving": Permission.READ_METRICS,
    "jobs.submit_job": Permission.TRAIN,
    "jobs.retry_job": Permission.TRAIN,
    "jobs.cancel_job": Permission.TRAIN,
    "searches.submit_search": Permission.TRAIN,
    "searches.end_search": Permission.TRAIN,
    "rollouts.roll_back": Permission.ROLL_OUT,
    "rollouts.promote": Permission.ROLL_OUT,
    "rollouts.change_rollout": Permission.ROLL_OUT,
    "pools.move_model": Permission.ROLL_OUT,
    "triggers.put_trigger": Permission.ROLL_OUT,
    "triggers.remove_trigger": Permission.ROLL_OUT,
    "v2.load": Permission.ROLL_OUT,
    "v2.unload": Permission.ROLL_OUT,
    "console.home": Permission.READ_MODELS,
    "console.list_models": Permission.READ_MODELS,
    "console.show_model": Permission.READ_MODELS,
    "console.show_canary": Permission.READ,
    "console.queue": Permission.READ,
    "console.searches": Permission.READ,
    "console.search": Permission.READ,
    "console.version": Permission.READ,
    "console.try_model": Permission.PREDICT,
    "console.label_answers": Permission.GIVE_FEEDBACK,
    "console.live": Permission.READ_METRICS,
    "console.list_jobs": Permission.READ,
    "console.show_job": Permission.READ,
    "console.compare_jobs": Permission.READ,
    "console.show_feedback": Permission.READ,
    "console.show_triggers": Permission.READ,
    "audit.list_entries": Permission.READ_AUDIT,
    "keys.list_keys": Permission.MANAGE_KEYS,
    "keys.create_key": Permission.MANAGE_KEYS,
    "keys.revoke_key": Permission.MANAGE_KEYS,
    "keys.get_session": Permission.READ_SERVICE,
    "keys.sign_out": Permission.READ_SERVICE,
    "console.show_keys": Permission.MANAGE_KEYS,
    "console.show_audit": Permission.READ_AUDIT,
}


def roles_with(permission: Permission) -> tuple[Role, ...]:
    return tuple(role for role, permissions in ROLES.items() if permission in permissions)


def check(rules: Map) -> None:
    """Checks that every view has a permission or needs none, and every permission a view.

    Raises:
        RuntimeError: a view has no permission, or a permission no view.
    """
    views = {rule.endpoint for rule in rules.iter_rules()}
    if differing := views ^ {*VIEWS, *PROBES, *PUBLIC}:
        raise RuntimeError(f"views and permissions differ: {', '.join(sorted(differing))}")
