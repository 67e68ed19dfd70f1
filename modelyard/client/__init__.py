"""The client of a gateway: predictions, jobs, rollouts, feedback. It needs httpx, and nothing else of this project's.

>>> from pathlib import Path
>>> from modelyard.client import Client
>>> with Client("http://127.0.0.1:8080") as client:  # doctest: +SKIP
...     client.predict("mnist_cnn", Path("seven.png")).label
'7'
"""

from modelyard.client.answers import Prediction, RawAnswer, WrongKind
from modelyard.client.client import AsyncClient, Client
from modelyard.client.errors import (
    BrokenAnswer,
    Conflict,
    ConnectionBroken,
    Forbidden,
    InvalidInput,
    ModelyardClientError,
    NotFound,
    RateLimited,
    ServerFailed,
    TimedOut,
    Unauthenticated,
    Unavailable,
    Unreachable,
)
from modelyard.client.models import UNCHANGED
from modelyard.client.options import Options
from modelyard.client.records import Feedback, Job, JobEvent, Model, Models, ModelSummary, Rollout, Search, Trigger

__all__ = [
    "UNCHANGED",
    "AsyncClient",
    "BrokenAnswer",
    "Client",
    "Conflict",
    "ConnectionBroken",
    "Feedback",
    "Forbidden",
    "InvalidInput",
    "Job",
    "JobEvent",
    "Model",
    "ModelSummary",
    "Models",
    "ModelyardClientError",
    "NotFound",
    "Options",
    "Prediction",
    "RateLimited",
    "RawAnswer",
    "Rollout",
    "Search",
    "ServerFailed",
    "TimedOut",
    "Trigger",
    "Unauthenticated",
    "Unavailable",
    "Unreachable",
    "WrongKind",
]
