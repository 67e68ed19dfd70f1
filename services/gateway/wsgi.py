"""Composition root of the gateway: builds the services that views need, and the application."""

from collections.abc import Callable, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

import orjson
from flask import Flask, Request, Response
from flask.json.provider import JSONProvider
from flask.sessions import NullSession, SessionInterface, SessionMixin

from modelyard.models.tfserving.addresses import is_name
from modelyard.models.tfserving.tls_files import TlsFiles
from modelyard.models.types import DEFAULT_POOL
from modelyard.services.gateway.access_log import watch_requests
from modelyard.services.gateway.api import (
    audit,
    feedback,
    health,
    jobs,
    keys,
    models,
    rollouts,
    searches,
    triggers,
)
from modelyard.services.gateway.api import pools as pool_views
from modelyard.services.gateway.api.answers import summary
from modelyard.services.gateway.api.answers import views as answers
from modelyard.services.gateway.api.job_events import Streams
from modelyard.services.gateway.api.job_history import views as job_history
from modelyard.services.gateway.api.observed import canary, traffic
from modelyard.services.gateway.api.queue_state import QueueWatch
from modelyard.services.gateway.api.submission_limit import add_limit_headers
from modelyard.services.gateway.api.training import queue, recipes
from modelyard.services.gateway.api.training.broker_probe import BrokerProbe
from modelyard.services.gateway.api.versions import cards, evaluations, mistakes, uses
from modelyard.services.gateway.auth import permissions
from modelyard.services.gateway.auth.denials import Denials
from modelyard.services.gateway.auth.guard import Guard
from modelyard.services.gateway.auth.key_cache import KeyCache
from modelyard.services.gateway.auth.oidc.tokens import Tokens
from modelyard.services.gateway.auth.sessions import Sessions
from modelyard.services.gateway.console import views as console
from modelyard.services.gateway.http.cors import allow_origins
from modelyard.services.gateway.http.errors import register_handlers
from modelyard.services.gateway.http.greenlets import EventLoop
from modelyard.services.gateway.http.origins import Origins
from modelyard.services.gateway.http.paths import CONVERTERS, MatchingRule
from modelyard.services.gateway.inference import classify, oip, predict, tfs_status
from modelyard.services.gateway.inference.fast_path import FastPath
from modelyard.services.gateway.inference.prediction import Predictions
from modelyard.services.gateway.limits.rate_limits import RateLimits
from modelyard.services.gateway.limits.shared_buckets import SharedBuckets
from modelyard.services.gateway.metrics import Metrics
from modelyard.services.gateway.openapi import views as openapi
from modelyard.services.gateway.serving.predictor import Predictor
from modelyard.services.gateway.serving.servers.grpc_replica import GrpcReplica
from modelyard.services.gateway.serving.servers.named_replicas import NamedReplicas
from modelyard.services.gateway.serving.servers.pools import Pools
from modelyard.services.gateway.serving.servers.replicas import Replicas
from modelyard.services.gateway.settings import GatewaySettings
from modelyard.services.ledger import Ledger

if TYPE_CHECKING:
    from celery import Celery

    from modelyard.services.gateway.serving.servers.local_server import EmbeddedServer


def create_app(
    settings: GatewaySettings | None = None,
    draining: Callable[[], bool] = lambda: False,
    loop: EventLoop | None = None,
    server: "EmbeddedServer | None" = None,
) -> Flask:
    """The WSGI application. Connects to nothing yet: the model server is called by the first request that needs it.

    Args:
        settings: from the environment unless given.
        draining: whether the process is shutting down; makes it not ready.
        loop: on which views wait; one in a thread of its own unless given.
        server: the model server of this process, if ``settings.serving`` is ``local``.
    """
    settings = settings or GatewaySettings.load()
    store, metrics = settings.open_store(), Metrics()
    loop = loop or EventLoop()
    ledger = Ledger(settings.ledger)
    predictor = Predictor(settings, metrics, loop, ledger, make_pools(settings, metrics, server))
    if server is not None:
        metrics.model_server = server.make_metrics_page()
    metrics.waiting_requests.set_function(predictor.batcher.count_waiting)
    pools = settings.pools(server.addresses if server else settings.serving, settings.serving_files)
    limits = RateLimits(settings, SharedBuckets(settings.broker))
    predictions = Predictions(predictor, settings, limits)
    guard = create_guard(settings, metrics, ledger, limits)
    readiness = health.Readiness(predictor, draining, guard)
    queue_watch = QueueWatch(store, ledger)

    app = Flask(__name__, static_folder=None)
    app.extensions["predictor"] = predictor
    app.extensions["guard"] = guard
    app.extensions["ledger"] = ledger
    app.extensions["queue_watch"] = queue_watch
    app.extensions["limits"] = limits
    app.extensions["metrics"] = metrics
    app.extensions["fast_path"] = FastPath(predictions, metrics)
    app.session_interface = NoSessions()
    app.json = Json(app)
    app.url_rule_class = MatchingRule
    app.url_map.converters |= CONVERTERS
    app.url_map.merge_slashes = False  # an odd path is unknown, not redirected
    watch_requests(app, metrics)
    allow_origins(app, settings.cors_origins)
    add_limit_headers(app)
    register_handlers(app)
    for views in (
        predict.routes(predictions),
        classify.routes(predictions),
        tfs_status.routes(predictor),
        oip.routes(predictions, readiness.reasons),
        models.routes(store, predictor),
        rollouts.routes(pools, store, ledger),
        pool_views.routes(pools, predictor.pools, store, ledger),
        canary.routes(store, ledger),
        traffic.routes(predictor, ledger),
        evaluations.routes(store, ledger),
        triggers.routes(store, ledger),
        feedback.routes(store, ledger, predictor.capture, metrics),
        health.routes(predictor, metrics, ledger, queue_watch, readiness),
        jobs.routes(store, ledger, connect_queue(settings), Streams(loop, draining), limits),
        job_history.routes(store, ledger),
        searches.routes(store, ledger, limits),
        queue.routes(store, ledger, BrokerProbe(settings.broker)),
        recipes.routes(store),
        mistakes.routes(store, ledger),
        uses.routes(store, ledger),
        cards.routes(store),
        answers.routes(store, ledger, predictor),
        summary.routes(store, ledger, predictor),
        keys.routes(settings, ledger, guard),
        audit.routes(ledger),
        openapi.routes(),
        openapi.pages(),
        console.routes(),
    ):
        app.register_blueprint(views)
    permissions.check(app.url_map)
    if guard:
        guard.guard(app)
    Origins(settings).protect(app)
    return app


def make_pools(settings: GatewaySettings, metrics: Metrics, server: "EmbeddedServer | None") -> Pools:
    """Replicas of every pool; those of the default pool may be the model server of this process."""
    tls = settings.serving_files
    named = {pool: make_replicas(found, metrics, pool, tls) for pool, found in settings.serving_pools.items()}
    if server is None:
        return Pools({DEFAULT_POOL: make_replicas(settings.serving, metrics, DEFAULT_POOL, tls), **named})
    from modelyard.services.gateway.serving.servers.local_replica import LocalReplica  # loads the model server

    return Pools({DEFAULT_POOL: Replicas([LocalReplica(server)], metrics), **named})


def make_replicas(addresses: Sequence[str], metrics: Metrics, pool: str, tls: TlsFiles | None) -> Replicas:
    """One for each address, and for each that a name stands for."""
    fixed = [GrpcReplica(address, tls=tls) for address in addresses if not is_name(address)]
    names = [address for address in addresses if is_name(address)]

    def make(address: str, name: str) -> GrpcReplica:
        return GrpcReplica(address, name=name, tls=tls)

    return Replicas(fixed, metrics, directory=NamedReplicas(names, make) if names else None, pool=pool)


def create_guard(settings: GatewaySettings, metrics: Metrics, ledger: Ledger, limits: RateLimits) -> Guard | None:
    """None where there are no keys: then every request is authorised."""
    settings.require_complete()
    if settings.key_secret is None:
        return None
    denials = Denials(ledger)
    key_cache = KeyCache(ledger, settings.key_bytes, after_poll=denials.write_due)
    sessions = Sessions(settings.key_bytes, settings.session_hours)
    tokens = Tokens(settings) if settings.oidc_issuer else None
    return Guard(key_cache, sessions, denials, metrics, limits, tokens=tokens, public_docs=settings.public_docs)


def connect_queue(settings: GatewaySettings) -> "Callable[[], Celery]":
    """Connects to the broker at the first call: predictions need none."""

    @cache
    def connect() -> "Celery":
        from modelyard.services.broker import make_sender  # loads Celery

        return make_sender(settings.broker)

    return connect


class NoSessions(SessionInterface):
    """Disables sessions: Flask would create an empty one for every request."""

    def open_session(self, app: Flask, request: Request) -> NullSession:
        del app, request
        return NO_SESSION

    def is_null_session(self, obj: object) -> bool:
        del obj
        return True

    def save_session(self, app: Flask, session: SessionMixin, response: Response) -> None:
        """There is nothing to save."""


NO_SESSION = NullSession()


class Json(JSONProvider):
    """orjson: float32 values are printed with the fewest digits that read back exactly."""

    def dumps(self, obj: Any, **_: Any) -> str:
        return self._bytes(obj).decode()

    def loads(self, s: str | bytes, **_: Any) -> Any:
        return orjson.loads(s)

    def response(self, *args: Any, **kwargs: Any) -> Response:
        return Response(self._bytes(self._prepare_response_obj(args, kwargs)), mimetype="application/json")

    @staticmethod
    def _bytes(obj: Any) -> bytes:
        return orjson.dumps(obj, option=orjson.OPT_SERIALIZE_NUMPY)
