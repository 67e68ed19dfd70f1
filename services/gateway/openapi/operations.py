"""What each view takes and answers, by its endpoint. Paths and methods are the application's own."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from pydantic import BaseModel

from modelyard.services.gateway.openapi import (
    feedback,
    jobs,
    keys,
    process,
    registry,
    rollouts,
    searches,
    triggers,
    v1,
    v2,
)
from modelyard.services.ledger import JobRequest
from modelyard.services.searches import SearchRequest

Contents = Mapping[str, type[BaseModel] | None]
"""Schemas by content type; None where a body is bytes or text of another kind."""

JSON = "application/json"
LINES = ("application/jsonl", "application/x-ndjson", "application/jsonlines")
FRONT = (400, 401, 403, 408, 413, 431, 500, 503)
"""Errors that any request can have: not understood, no good key, too slow, too large, too many headers, ours, or come
again."""
MODEL = (*FRONT, 404, 429, 501, 504)
"""And of those that ask a model server."""


@dataclass(frozen=True)
class Operation:
    """One view."""

    summary: str
    answers: Mapping[int, Contents]
    takes: Contents = field(default_factory=dict)
    body_required: bool = True
    parameters: tuple[str, ...] = ()
    """Names in ``document.PARAMETERS``; every operation also takes X-Request-Id."""
    errors: tuple[int, ...] = FRONT
    versioned: bool = False
    """Whether the answer says which version it is of."""


def json(schema: type[BaseModel], status: int = 200) -> dict[int, Contents]:
    return {status: {JSON: schema}}


def examples(summary: str, schema: type[BaseModel]) -> Operation:
    """Classify and regress."""
    return Operation(
        summary,
        json(schema),
        takes={JSON: v1.ExamplesRequest},
        parameters=("X-Timeout-Ms", "X-Rollout-Key", "Content-Encoding"),
        errors=(*MODEL, 415),
        versioned=True,
    )


OPERATIONS: Mapping[str, Operation] = {
    "predict.predict": Operation(
        "Predict: rows, columns, an image or a text as it is, several files, a table, or any number of lines.",
        {200: {JSON: v1.PredictAnswer, "text/csv": None} | dict.fromkeys(LINES)},
        takes={JSON: v1.PredictRequest}
        | dict.fromkeys(("image/png", "image/jpeg", "text/plain", "text/csv", *LINES))
        | {"multipart/form-data": None},
        parameters=("X-Timeout-Ms", "X-Request-Class", "X-Rollout-Key", "Content-Encoding", "labels", "signature_name"),
        errors=(*MODEL, 415),
        versioned=True,
    ),
    "examples.classify": examples("Classify examples.", v1.Classes),
    "examples.regress": examples("Regress examples.", v1.Values),
    "tfs.status": Operation("State of versions.", json(v1.ModelStatus), errors=MODEL),
    "tfs.metadata": Operation("Signatures of a version.", json(v1.ModelMetadata), errors=MODEL, versioned=True),
    "v2.infer": Operation(
        "Infer: tensors in JSON, or in binary behind it.",
        {200: {JSON: v2.InferAnswer, "application/octet-stream": None}},
        takes={JSON: v2.InferRequest, "application/octet-stream": None},
        parameters=("X-Timeout-Ms", "X-Rollout-Key", "Content-Encoding", "Inference-Header-Content-Length"),
        errors=(*MODEL, 415),
        versioned=True,
    ),
    "v2.metadata": Operation(
        "Inputs and outputs of a signature.",
        json(v2.V2Metadata),
        parameters=("signature_name",),
        errors=MODEL,
        versioned=True,
    ),
    "v2.model_ready": Operation(
        "Whether a version would answer.",
        json(v2.ModelReady) | json(v2.ModelNotReady, 503),
        errors=MODEL,
        versioned=True,
    ),
    "v2.server": Operation("Name and extensions of the server.", json(v2.Server)),
    "v2.live": Operation("Whether the process answers.", json(process.Alive)),
    "v2.ready": Operation("Whether predictions would be answered.", json(v2.V2Ready) | json(v2.V2NotReady, 503)),
    "v2.index": Operation(
        "Every version that the model server has heard of.",
        json(v2.Index),
        takes={JSON: v2.IndexRequest},
        body_required=False,
        parameters=("Content-Encoding",),
        errors=(*MODEL, 415),
    ),
    "v2.change": Operation("Not here: what is loaded follows from rollouts.", {}, errors=(*FRONT, 501)),
    "registry.all_models": Operation("Models by their stable version.", json(registry.Models)),
    "registry.one_model": Operation("A model with all its versions.", json(registry.ModelRecord), errors=MODEL),
    "rollouts.shown": Operation(
        "Which version answers, and who decided what.", json(rollouts.RolloutHistory), errors=(*FRONT, 404)
    ),
    "rollouts.record": Operation("A version's decision record.", json(rollouts.DecisionRecord), errors=(*FRONT, 404)),
    "rollouts.roll_back": Operation(
        "Let the version before answer again, at once.",
        json(rollouts.RolloutHistory),
        takes={JSON: rollouts.RollbackRequest},
        body_required=False,
        parameters=("Content-Encoding",),
        errors=(*FRONT, 404, 409, 415),
    ),
    "rollouts.make_stable": Operation(
        "Let a version answer, once every model server gives the answers that it gave in training.",
        json(rollouts.RolloutHistory),
        takes={JSON: rollouts.PromotionRequest},
        parameters=("Content-Encoding",),
        errors=(*FRONT, 404, 409, 415),
    ),
    "rollouts.change": Operation(
        "Give versions roles, or end them: a canary's share, a shadow, labels.",
        json(rollouts.RolloutHistory),
        takes={JSON: rollouts.RolloutRequest},
        parameters=("Content-Encoding",),
        errors=(*FRONT, 404, 409, 415),
    ),
    "feedback.tell": Operation(
        "Say what is true of an earlier answer that was kept.",
        json(feedback.FeedbackTaken, 201),
        takes={JSON: feedback.FeedbackRequest},
        parameters=("Content-Encoding",),
        errors=(*FRONT, 404, 409, 415),
    ),
    "feedback.made": Operation(
        "Which version made an answer that was kept, from which data.", json(feedback.MadeBy), errors=(*FRONT, 404)
    ),
    "triggers.listed": Operation(
        "What starts jobs of a model by itself.", json(triggers.TriggerList), errors=(*FRONT, 404)
    ),
    "triggers.drift": Operation(
        "How far inputs and answers have moved from training's.", json(triggers.DriftShown), errors=(*FRONT, 404)
    ),
    "triggers.put": Operation(
        "Have jobs started by a schedule, by feedback, or when quality falls.",
        json(triggers.TriggerShown),
        takes={JSON: triggers.TriggerAsked},
        parameters=("Content-Encoding",),
        errors=(*FRONT, 404, 415),
    ),
    "triggers.remove": Operation("Have them started no more.", json(triggers.TriggerList), errors=(*FRONT, 404)),
    "training.submit": Operation(
        "Ask for a training job.",
        json(jobs.Job, 202),
        takes={JSON: JobRequest},
        parameters=("Content-Encoding", "Idempotency-Key"),
        errors=(*FRONT, 404, 415, 422),
    ),
    "training.listed": Operation(
        "Jobs, the newest first.",
        json(jobs.Jobs),
        parameters=("model", "group", "state", "limit", "before"),
        errors=(*FRONT, 404),
    ),
    "training.one": Operation("A job and its events.", json(jobs.JobStory), errors=(*FRONT, 404)),
    "training.events": Operation(
        "A job's events as they happen (Server-Sent Events); 204 when there will be none.",
        {200: {"text/event-stream": None}, 204: {}},
        parameters=("Last-Event-ID",),
        errors=(*FRONT, 404),
    ),
    "training.log": Operation(
        "What a job's processes wrote, of all attempts; the newest 256 KB.",
        {200: {"text/plain": None}},
        errors=(*FRONT, 404),
    ),
    "training.retry": Operation(
        "Try a job that has ended once more, as a new job.",
        json(jobs.Job, 202),
        parameters=("Idempotency-Key",),
        errors=(*FRONT, 404, 409, 422),
    ),
    "searches.submit": Operation(
        "Ask for a search over the ranges that a model declares.",
        json(searches.SearchShown, 202),
        takes={JSON: SearchRequest},
        parameters=("Content-Encoding", "Idempotency-Key"),
        errors=(*FRONT, 404, 415, 422),
    ),
    "searches.listed": Operation("Searches, the newest first.", json(searches.SearchList)),
    "searches.one": Operation(
        "A search, its rungs and what each trial reached.", json(searches.SearchShown), errors=(*FRONT, 404)
    ),
    "searches.cancel": Operation("End a search with all its jobs.", json(searches.SearchShown), errors=(*FRONT, 404)),
    "training.cancel": Operation("End a job that waits or runs.", json(jobs.Job), errors=(*FRONT, 404, 409)),
    "keys.listed": Operation("API keys, without their secrets.", json(keys.KeyList)),
    "keys.create": Operation(
        "Create an API key; this is the only time that it is shown.",
        json(keys.KeyMade, 201),
        takes={JSON: keys.KeyRequest},
        parameters=("Content-Encoding",),
        errors=(*FRONT, 409, 415),
    ),
    "keys.revoke": Operation(
        "End an API key, everywhere within five seconds.", json(keys.KeyShown), errors=(*FRONT, 404)
    ),
    "health.live": Operation("Whether the process answers.", json(process.Alive)),
    "health.ready": Operation(
        "Whether predictions would be answered.", json(process.Ready) | json(process.NotReady, 503)
    ),
    "health.scrape": Operation("Metrics in Prometheus' form.", {200: {"text/plain": None}}),
    "health.version": Operation("Name and release.", json(process.Release)),
    "health.index": Operation("Every route.", json(process.Routes)),
    "openapi.document": Operation("This document.", json(process.Document)),
}
