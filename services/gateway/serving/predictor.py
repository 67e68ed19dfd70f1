"""Finds the version that predicts, and calls it. Safe for many threads.

Coroutines run on the event loop; plain methods may be called anywhere, and wait (``http/greenlets.py``).
"""

import asyncio
from collections.abc import Coroutine, Mapping
from contextlib import suppress
from typing import Any, TypeVar

import grpc

from modelyard.models.registry.rollout import Rollout
from modelyard.models.registry.serving_config import LeftOutVersion
from modelyard.models.registry.store import Store
from modelyard.models.tfserving.messages import (
    BEING_LOADED,
    ServingFailed,
    VersionStatus,
    classification_pb2,
    get_model_metadata_pb2,
    regression_pb2,
)
from modelyard.models.types import Array
from modelyard.services.gateway.http.deadline import Deadline
from modelyard.services.gateway.http.errors import ServableNotFound, not_found_text
from modelyard.services.gateway.http.greenlets import EventLoop
from modelyard.services.gateway.http.paths import Servable
from modelyard.services.gateway.http.side_process import SideProcess
from modelyard.services.gateway.metrics import Metrics
from modelyard.services.gateway.serving.batching.batcher import Batcher
from modelyard.services.gateway.serving.batching.calls import Outputs, Target, count_rows, may_share
from modelyard.services.gateway.serving.batching.explanations import Explanations
from modelyard.services.gateway.serving.canary_counts import CanaryCounts, TrafficWriter
from modelyard.services.gateway.serving.capture import Capture
from modelyard.services.gateway.serving.failed_versions import FailedVersions, VersionFailed
from modelyard.services.gateway.serving.interface import TYPICAL, Interface, external_interface
from modelyard.services.gateway.serving.metadata_cache import MetadataCache
from modelyard.services.gateway.serving.model_server import ModelServerClient
from modelyard.services.gateway.serving.response_cache import ResponseCache
from modelyard.services.gateway.serving.row_independence import CheckedSignature, RowIndependence
from modelyard.services.gateway.serving.servers.pools import Pools
from modelyard.services.gateway.serving.servers.replicas import CLASSIFY, REGRESS
from modelyard.services.gateway.serving.shadow import ShadowTraffic
from modelyard.services.gateway.serving.versions import (
    PublishedVersions,
    newest_ready_version,
    read_interface,
    replace_failed,
    resolve_version,
    select_best_states,
    with_experiment,
)
from modelyard.services.gateway.settings import GatewaySettings
from modelyard.services.ledger import Ledger

Result = TypeVar("Result")


class Predictor:
    """All models and versions."""

    def __init__(
        self, settings: GatewaySettings, metrics: Metrics, loop: EventLoop, ledger: Ledger, pools: Pools
    ) -> None:
        self._settings = settings
        self._metrics = metrics
        self._loop = loop
        self.side_process = SideProcess()
        store = Store(settings.store)
        self._versions = PublishedVersions(store)
        self.pools, self.find_pool = pools, self._versions.find_pool
        self._model_server = ModelServerClient(settings, pools, self.find_pool, metrics, self._explain_missing)
        self.failed_versions = FailedVersions(store, self._model_server.get_every_status, metrics)
        self.batcher = Batcher(self._model_server.predict, settings.max_batch)
        self._independence = RowIndependence(self._model_server.predict)
        self.explanations = Explanations(self._model_server.predict, metrics.explanations)
        self._cache = ResponseCache(settings.cached_models, settings.cache_bytes, metrics)
        self._external_interfaces: MetadataCache[Interface] = MetadataCache()
        self.canary_counts = CanaryCounts(ledger)
        self.traffic = TrafficWriter(metrics.traffic, ledger, settings.traffic_s)
        self.capture = Capture(settings, metrics, ledger)
        self.shadow_traffic = ShadowTraffic(self._versions.get_interface, self._predict, self.canary_counts)

    # --- which version ---

    async def find_interface(
        self, servable: Servable, deadline: Deadline | None = None, key: str | None = None
    ) -> Interface:
        """The version that predicts.

        Args:
            servable: what the client names.
            deadline: the client's, if the model server has to be called first.
            key: of the client; equal keys get the same version, also while a canary has its share.

        Raises:
            ServableNotFound: unknown model or version, or none is stable.
            InvalidRequest: unknown label.
            VersionFailed: the version cannot be loaded, nor any that may answer in its place.
            ServingFailed: the model server was called, and failed or took too long.
        """
        if self.failed_versions:
            await self.failed_versions.refresh(servable.model)
        return self._known_interface(servable, key) or await self._fetch_interface(servable, deadline)

    def wait_for_interface(self, servable: Servable) -> Interface:
        """As ``find_interface``."""
        if self.failed_versions:
            self.wait_for(self.failed_versions.refresh(servable.model))
        return self._known_interface(servable, None) or self.wait_for(self._fetch_interface(servable, None))

    def _known_interface(self, servable: Servable, key: str | None) -> Interface | None:
        """From the store, or fresh from the metadata cache; None if the model server has to be called."""
        model, version, label = servable
        rollout = self._versions.get_rollout(model)
        number = resolve_version(rollout, model, version, label, key)
        if rollout is None or number is None:
            known = None if number is None else self._versions.get_interface(model, number)
            return known or self._external_interfaces.get_fresh(servable)
        known = read_interface(self._versions, self.failed_versions, rollout, model, number)
        if known is None:
            return replace_failed(self._versions, self.failed_versions, rollout, servable, number)
        return with_experiment(known, rollout) if version is None and label is None else known

    async def _fetch_interface(self, servable: Servable, deadline: Deadline | None) -> Interface:
        try:
            async with asyncio.timeout(deadline.remaining_s if deadline else None):
                return await self._external_interfaces.get(servable, lambda: self._call_for_interface(servable))
        except TimeoutError:
            assert deadline
            raise deadline.make_error() from None
        except ServingFailed as failure:
            if failure.code is not grpc.StatusCode.NOT_FOUND:
                raise
            said = str(failure)
        stable = servable.version is None and servable.model in self._versions.list_models()
        hint = "; no version of it is stable yet" if stable else ""
        text = not_found_text(servable.model, servable.version)
        raise ServableNotFound(f"{said if said.startswith(text) else text}{hint}")

    async def _call_for_interface(self, servable: Servable) -> Interface:
        """The interface of a model without a manifest; of its newest ready version, if none is named."""
        newest = None
        if servable.version is None and servable.label is None:
            newest = newest_ready_version(servable.model, await self._model_server.get_status(servable.model, None))
        reply = await self._model_server.get_metadata(
            servable.model, servable.version if newest is None else newest, servable.label
        )
        always = self._settings.batch_external_models == "always"
        return external_interface(reply, batches=always, tracks_latest=newest is not None)

    def get_rollout(self, model: str) -> Rollout:
        """The model's rollout; an empty one where the model server alone decides."""
        return self._versions.get_rollout(model) or Rollout()

    def list_models(self) -> tuple[str, ...]:
        """Models with a version in the store, and those that only the model servers know."""
        return tuple(dict.fromkeys((*self._versions.list_models(), *self._settings.external_models)))

    def list_left_out(self) -> tuple[LeftOutVersion, ...]:
        """Versions that have a role, and that model servers are not told to load."""
        return self._versions.list_left_out()

    async def predict(
        self,
        interface: Interface,
        signature: str,
        inputs: Mapping[str, Array],
        deadline: Deadline,
        *,
        bulk: bool = False,
    ) -> Outputs:
        """Runs one signature of one version, which the outputs name.

        Args:
            inputs: one array per named input; strings as object arrays of ``bytes``.
            bulk: goes after everything interactive.

        Raises:
            ServingFailed: with the server's code, and a text fit for the public.
            InvalidOutput: the response cannot be read.
        """
        call = self._predict(interface, signature, inputs, deadline, bulk=bulk)
        if interface.experiment is None:
            return await call
        outputs = await self.canary_counts.watch(interface, call)
        self.shadow_traffic.mirror(interface, signature, inputs, outputs)
        return outputs

    async def _predict(
        self, interface: Interface, signature: str, inputs: Mapping[str, Array], deadline: Deadline, *, bulk: bool
    ) -> Outputs:
        target = make_target(interface, signature)
        key = self._cache.key(target, inputs)
        if key and (cached := self._cache.get(key, interface.model)) is not None:
            return cached
        outputs = await self._run_shared_or_alone(interface, target, inputs, deadline, bulk=bulk)
        self._metrics.count_predictions(interface.model, outputs.version, count_rows(inputs), outputs.get(TYPICAL))
        if key:
            self._cache.put(key, outputs)
        return outputs

    async def _run_shared_or_alone(
        self, interface: Interface, target: Target, inputs: Mapping[str, Array], deadline: Deadline, *, bulk: bool
    ) -> Outputs:
        """In one call with other requests, where that changes no output."""
        if not may_share(interface.signatures[target.signature], inputs):
            return await self._model_server.predict(target, inputs, deadline)
        if interface.batches:
            return await self.batcher.run(target, inputs, deadline, max_rows=interface.max_batch, bulk=bulk)
        key = CheckedSignature(interface.model, interface.version, target.signature)
        if self._independence.is_proven(key):
            return await self.batcher.run(target, inputs, deadline, max_rows=interface.max_batch, bulk=bulk)
        outputs = await self._model_server.predict(target, inputs, deadline)
        if self._settings.batch_external_models == "checked":
            self._independence.check(key, target, inputs, outputs)
        return outputs

    def classify(
        self, interface: Interface, request: classification_pb2.ClassificationRequest, deadline: Deadline
    ) -> classification_pb2.ClassificationResponse:
        """Labels and scores of examples. The request names the signature; the version is filled in here.

        Raises:
            ServingFailed: as ``predict``.
        """
        return self.wait_for(self._run_examples(CLASSIFY, interface, request, deadline))

    def regress(
        self, interface: Interface, request: regression_pb2.RegressionRequest, deadline: Deadline
    ) -> regression_pb2.RegressionResponse:
        """A number for each example; otherwise as ``classify``."""
        return self.wait_for(self._run_examples(REGRESS, interface, request, deadline))

    async def _run_examples(self, method: str, interface: Interface, request: Any, deadline: Deadline) -> Any:
        target = make_target(interface, request.model_spec.signature_name)
        call = self._model_server.run_examples(method, target, request, deadline)
        return await (self.canary_counts.watch(interface, call) if interface.experiment else call)

    def get_status(self, model: str, version: int | None = None) -> tuple[VersionStatus, ...]:
        """State of every version on the server, or of one; raises ``ServingFailed``."""
        return self.wait_for(self._model_server.get_status(model, version))

    def get_states(self, model: str) -> dict[int, str]:
        """The best state of each version in any model server; empty if none knows the model.

        Raises:
            ServingFailed: no model server answers.
        """
        return select_best_states(self.wait_for(self._model_server.get_every_status(model)))

    def is_cut_off(self, model: str) -> bool:
        """Whether the model's circuit is open: no call of it is made at present."""
        return self._model_server.is_open(model)

    def is_ready(self, interface: Interface) -> bool:
        """Whether this version can predict now."""
        model = interface.model
        return not self.is_cut_off(model) and self.get_states(model).get(interface.version) == "AVAILABLE"

    def get_metadata(self, interface: Interface) -> get_model_metadata_pb2.GetModelMetadataResponse:
        """The version's signatures as the server sees them; raises ``ServingFailed``."""
        return self.wait_for(self._model_server.get_metadata(interface.model, interface.version, None))

    def wait_for(self, work: Coroutine[Any, Any, Result]) -> Result:
        """The result of a coroutine, which runs on the event loop."""
        return self._loop.wait_for(work)

    def close(self) -> None:
        """Writes what is pending, and closes the connections."""
        for writer in (self.canary_counts, self.traffic, self.capture):
            writer.close()
        for part in (self.failed_versions, self._model_server, self.side_process):
            self.wait_for(part.close())
        self._loop.close()

    async def _explain_missing(self, target: Target, failure: ServingFailed) -> ServingFailed:
        """In place of NOT_FOUND: the target is damaged, or its server has just started, or has just unloaded it.

        It unloads what is rolled back from; a request that chose it by the rollout of before is run again.
        """
        if not self._is_wanted(target):
            return VersionFailed(failure.code, str(failure)) if target.version is not None else failure
        if target.version is not None:
            with suppress(ServingFailed):  # the server is away again: then it starts
                if failed := await self.failed_versions.check(target.model, target.version):
                    return failed.make_error()
        what = target.model if target.version is None else f"version {target.version} of {target.model}"
        return ServingFailed(grpc.StatusCode.UNAVAILABLE, f"{what} {BEING_LOADED}")

    def _is_wanted(self, target: Target) -> bool:
        """Whether the model servers are configured to serve this."""
        if target.version is None:
            return target.model in self._settings.external_models
        return target.version in self.get_rollout(target.model).loaded


def make_target(interface: Interface, signature: str) -> Target:
    return Target(interface.model, None if interface.tracks_latest else interface.version, signature)
