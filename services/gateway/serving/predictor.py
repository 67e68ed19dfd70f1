"""The gateway's view of what is served: which version answers, and its calls. Safe for many threads.

Public methods are plain and wait (``waiting.py``); the private coroutines behind them run on the event loop.
"""

import asyncio
from collections.abc import Coroutine, Mapping
from typing import Any, TypeVar

import grpc

from modelyard.models.registry.manifest import SignatureSpec
from modelyard.models.registry.rollout import Rollout
from modelyard.models.registry.store import Store
from modelyard.models.tfserving.messages import (
    ServingFailed,
    VersionStatus,
    classification_pb2,
    get_model_metadata_pb2,
    regression_pb2,
)
from modelyard.models.types import Array
from modelyard.services.gateway.http.deadline import Deadline
from modelyard.services.gateway.http.errors import ServableNotFound
from modelyard.services.gateway.http.greenlets import EventLoop
from modelyard.services.gateway.metrics import Metrics
from modelyard.services.gateway.serving import interface as interfaces
from modelyard.services.gateway.serving import replicas as servers
from modelyard.services.gateway.serving.batching import Batcher, Outputs, Target
from modelyard.services.gateway.serving.canary_counts import Trials
from modelyard.services.gateway.serving.capture import Capture
from modelyard.services.gateway.serving.interface import Interface
from modelyard.services.gateway.serving.metadata_cache import Questions
from modelyard.services.gateway.serving.model_server import Calls
from modelyard.services.gateway.serving.replicas import Servers
from modelyard.services.gateway.serving.response_cache import ResponseCache
from modelyard.services.gateway.serving.row_independence import Independence, Key
from modelyard.services.gateway.serving.shadow import Shadows
from modelyard.services.gateway.serving.versions import (
    Versions,
    chosen,
    newest_available,
    not_found,
    on_trial,
)
from modelyard.services.gateway.settings import GatewaySettings
from modelyard.services.ledger import Ledger

Result = TypeVar("Result")


class Serving:
    """All that is served."""

    def __init__(self, settings: GatewaySettings, metrics: Metrics, loop: EventLoop, ledger: Ledger) -> None:
        self._settings = settings
        self._metrics = metrics
        self._loop = loop
        self._versions = Versions(Store(settings.store))
        self._calls = Calls(Servers(settings.serving, metrics), settings.status_timeout_s, self._wanted)
        self._batcher = Batcher(self._calls.predict, settings.max_batch)
        self._independence = Independence(self._calls.predict)
        self._cache = ResponseCache(settings.cached, settings.cache_bytes, metrics)
        self._foreign: Questions[Interface] = Questions()
        self.trials = Trials(ledger)
        """What is observed of canaries and shadows."""
        self.capture = Capture(settings, metrics, ledger)
        """Answers that are kept for feedback."""
        self._shadows = Shadows(self._versions.interface, self._answered, self.trials)

    # --- which version ---

    def interface(
        self,
        model: str,
        version: int | None = None,
        label: str | None = None,
        until: Deadline | None = None,
        key: str | None = None,
    ) -> Interface:
        """The version that answers.

        Args:
            until: when the caller goes, if the model server has to be asked first.
            key: of who asks; equal keys get the same version, also while a canary has its share.

        Raises:
            ServableNotFound: unknown model or version, or none is stable.
            InvalidRequest: unknown label.
            ServingFailed: the model server was asked, and failed or took too long.
        """
        return self._known(model, version, label, key) or self.wait_for(self._asked(model, version, label, until))

    def at_hand(self, model: str, version: int | None, key: str | None = None) -> Interface | None:
        """``interface`` where nobody has to be asked; raises ``ServableNotFound``."""
        return self._known(model, version, None, key) or self._foreign.fresh((model, version, None))

    def _known(self, model: str, version: int | None, label: str | None, key: str | None) -> Interface | None:
        """What the store says; None where only the model server knows."""
        rollout = self._versions.rollout(model)
        number = chosen(rollout, model, version, label, key)
        known = None if number is None else self._versions.interface(model, number)
        if rollout is None:
            return known
        if known is None:
            raise ServableNotFound(not_found(model, version))
        return on_trial(known, rollout) if version is None and label is None else known

    async def _asked(self, model: str, version: int | None, label: str | None, until: Deadline | None) -> Interface:
        try:
            async with asyncio.timeout(until.left_s if until else None):
                return await self._ask_interface(model, version, label)
        except TimeoutError:
            assert until
            raise until.missed() from None
        except ServingFailed as failure:
            if failure.code is not grpc.StatusCode.NOT_FOUND:
                raise
        hint = "; no version of it is stable yet" if version is None and model in self._versions.models() else ""
        raise ServableNotFound(f"{not_found(model, version)}{hint}")

    def rollout(self, model: str) -> Rollout:
        """The model's rollout; an empty one where the model server alone decides."""
        return self._versions.rollout(model) or Rollout()

    def models(self) -> tuple[str, ...]:
        """Models with a version in the store, and those that only the model servers know."""
        return tuple(dict.fromkeys((*self._versions.models(), *self._settings.hosted)))

    # --- calls ---

    def predict(
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
            InvalidOutput: the answer cannot be read.
        """
        return self.wait_for(self.predicted(interface, signature, inputs, deadline, bulk=bulk))

    async def predicted(
        self,
        interface: Interface,
        signature: str,
        inputs: Mapping[str, Array],
        deadline: Deadline,
        *,
        bulk: bool = False,
    ) -> Outputs:
        """``predict`` for who is on the event loop already, and has more to do meanwhile."""
        work = self._answered(interface, signature, inputs, deadline, bulk=bulk)
        if interface.trial is None:
            return await work
        outputs = await self.trials.watch(interface, work)
        self._shadows.mirror(interface, signature, inputs, outputs)
        return outputs

    async def _answered(
        self, interface: Interface, signature: str, inputs: Mapping[str, Array], deadline: Deadline, *, bulk: bool
    ) -> Outputs:
        target = target_of(interface, signature)
        key = self._cache.key(target, inputs)
        kept = self._cache.get(key, interface.model) if key else None
        if kept is not None:
            return kept
        outputs = await self._shared_or_alone(interface, target, inputs, deadline, bulk=bulk)
        self._metrics.predicted(interface.model, outputs.version, rows_of(inputs))
        if key:
            self._cache.keep(key, outputs)
        return outputs

    async def _shared_or_alone(
        self, interface: Interface, target: Target, inputs: Mapping[str, Array], deadline: Deadline, *, bulk: bool
    ) -> Outputs:
        """In one call with other requests, where that changes no answer."""
        if not may_share(interface.signatures[target.signature], inputs):
            return await self._calls.predict(target, inputs, deadline)
        key = Key(interface.model, interface.version, target.signature)
        if interface.batches or self._independence.proven(key):
            return await self._batcher.run(target, inputs, deadline, most=interface.max_batch, bulk=bulk)
        outputs = await self._calls.predict(target, inputs, deadline)
        if self._settings.batch_foreign == "checked":
            self._independence.learn(key, target, inputs, outputs)
        return outputs

    def classify(
        self, interface: Interface, request: classification_pb2.ClassificationRequest, deadline: Deadline
    ) -> classification_pb2.ClassificationResponse:
        """Labels and scores of examples. The request names the signature; which version it asks is filled in here.

        Raises:
            ServingFailed: as ``predict``.
        """
        reply = self.wait_for(self._examples(servers.CLASSIFY, interface, request, deadline))
        return classification_pb2.ClassificationResponse.FromString(reply)

    def regress(
        self, interface: Interface, request: regression_pb2.RegressionRequest, deadline: Deadline
    ) -> regression_pb2.RegressionResponse:
        """A number for each example; otherwise as ``classify``."""
        reply = self.wait_for(self._examples(servers.REGRESS, interface, request, deadline))
        return regression_pb2.RegressionResponse.FromString(reply)

    def status(self, model: str, version: int | None = None) -> tuple[VersionStatus, ...]:
        """State of every version the server knows, or of one; raises ``ServingFailed``."""
        return self.wait_for(self._calls.status(model, version))

    def states(self, model: str) -> dict[int, str]:
        """State by version; empty if the server does not know the model."""
        try:
            return {entry.version: entry.state for entry in self.status(model)}
        except ServingFailed as failure:
            if failure.code is grpc.StatusCode.NOT_FOUND:
                return {}
            raise

    def ready(self, interface: Interface) -> bool:
        """Whether this version would be answered now."""
        return (
            self._calls.answers(interface.model) and self.states(interface.model).get(interface.version) == "AVAILABLE"
        )

    def metadata(self, interface: Interface) -> get_model_metadata_pb2.GetModelMetadataResponse:
        """The version's signatures as the server sees them; raises ``ServingFailed``."""
        return self.wait_for(self._calls.metadata(interface.model, interface.version, None))

    def wait_for(self, work: Coroutine[Any, Any, Result]) -> Result:
        """The result of a coroutine, which runs on the event loop."""
        return self._loop.wait_for(work)

    def close(self) -> None:
        """Hangs up."""
        self.trials.close()
        self.capture.close()
        self.wait_for(self._calls.close())
        self._loop.close()

    # --- on the event loop ---

    async def _examples(self, method: str, interface: Interface, request: Any, deadline: Deadline) -> bytes:
        target = target_of(interface, request.model_spec.signature_name)
        work = self._calls.examples(method, target, request, deadline)
        return await (self.trials.watch(interface, work) if interface.trial else work)

    def _wanted(self, target: Target) -> bool:
        """Whether the model servers are told to serve this."""
        if target.version is None:
            return target.model in self._settings.hosted
        return target.version in self.rollout(target.model).loaded

    async def _ask_interface(self, model: str, version: int | None, label: str | None) -> Interface:
        """What the server says of a model that is not ours; without version and label, of its newest ready version."""
        always = self._settings.batch_foreign == "always"

        async def ask() -> Interface:
            newest = None
            if version is None and label is None:
                newest = newest_available(model, await self._calls.status(model, None))
            reply = await self._calls.metadata(model, newest if version is None else version, label)
            return interfaces.foreign(reply, batches=always, floats=newest is not None)

        return await self._foreign.get((model, version, label), ask)


def target_of(interface: Interface, signature: str) -> Target:
    return Target(interface.model, None if interface.floats else interface.version, signature)


def may_share(signature: SignatureSpec, inputs: Mapping[str, Array]) -> bool:
    """Whether each row of these inputs has its own row in every output, as far as shapes tell."""
    per_row = all(spec.shape and spec.shape[0] is None for spec in (*signature.inputs, *signature.outputs))
    sizes = {array.shape[:1] for array in inputs.values()}
    return per_row and len(sizes) == 1 and () not in sizes


def rows_of(inputs: Mapping[str, Array]) -> int:
    return max((len(array) for array in inputs.values() if array.shape), default=1)
