"""The registry of loaded versions, and the state of every version ever wanted.

Predictions read one immutable snapshot through one reference and take no lock that two versions share. Writers are few
(the load thread and configuration changes); they swap in a changed copy.
"""

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from types import MappingProxyType

import grpc
from tensorflow_serving.apis import model_pb2

from modelyard.models.tfserving.messages import BEING_LOADED, get_model_status_pb2
from modelyard.services.modelserver.errors import Refused
from modelyard.services.modelserver.runtime.servable import Servable

State = get_model_status_pb2.ModelVersionStatus.State


@dataclass(frozen=True)
class VersionState:
    """``state`` is a ``ModelVersionStatus.State``, ``code`` a ``tensorflow.error.Code`` (0 is OK)."""

    state: int
    code: int = 0
    message: str = ""


class ServedVersion:
    """One loaded version and the number of calls in flight on it."""

    def __init__(self, number: int, servable: Servable) -> None:
        self.number = number
        self.servable = servable
        self._lock = threading.Lock()
        self._in_flight = 0
        self._on_idle: Callable[[], None] | None = None

    def acquire(self) -> bool:
        """Counts a call in; False if the version was retired since it was looked up."""
        with self._lock:
            if self._on_idle is not None:
                return False
            self._in_flight += 1
            return True

    def release(self) -> None:
        """Counts a call out."""
        with self._lock:
            self._in_flight -= 1
            idle = self._on_idle if self._in_flight == 0 else None
        if idle is not None:
            idle()

    def retire(self, on_idle: Callable[[], None]) -> None:
        """Accepts no further call, and calls ``on_idle`` once: when the last call ends, or now if there is none."""
        with self._lock:
            self._on_idle = on_idle
            idle = self._in_flight == 0
        if idle:
            on_idle()


@dataclass(frozen=True)
class ServedModel:
    """The versions of one model that answer, and its labels."""

    versions: Mapping[int, ServedVersion] = field(default_factory=lambda: MappingProxyType({}))
    labels: Mapping[str, int] = field(default_factory=lambda: MappingProxyType({}))


class Registry:
    """The snapshot that calls read, and the states that ``GetModelStatus`` reports."""

    def __init__(self) -> None:
        self._writing = threading.Lock()
        self._models: Mapping[str, ServedModel] = {}
        self._states: Mapping[str, Mapping[int, VersionState]] = {}
        self._is_starting = True

    # --- reading: no lock -------------------------------------------------------------------------------------------

    @contextmanager
    def acquire_version(self, spec: model_pb2.ModelSpec) -> Iterator[ServedVersion]:
        """As ``acquire``, for the version that a message names."""
        choice = spec.WhichOneof("version_choice")
        number = spec.version.value if choice == "version" else None
        with self.acquire(spec.name, number, spec.version_label if choice == "version_label" else None) as version:
            yield version

    @contextmanager
    def acquire(self, name: str, number: int | None = None, label: str | None = None) -> Iterator[ServedVersion]:
        """The version that a request names, or the newest one, kept loaded until the block ends.

        Raises:
            Refused: NOT_FOUND; UNAVAILABLE while it is being loaded, and for any other until ``finish_start``;
                INVALID_ARGUMENT for an unknown label or a request without a name.
        """
        version = self._find(name, number, label)
        while not version.acquire():  # retired a moment ago: the snapshot has already changed
            version = self._find(name, number, label)
        try:
            yield version
        finally:
            version.release()

    @property
    def states(self) -> Mapping[str, Mapping[int, VersionState]]:
        """States by model and version; a snapshot."""
        return self._states

    def available_versions(self, name: str) -> Mapping[int, ServedVersion]:
        return self._models.get(name, ServedModel()).versions

    def labels(self, name: str) -> Mapping[str, int]:
        """Version numbers of a model by label."""
        return self._models.get(name, ServedModel()).labels

    def _find(self, name: str, number: int | None, label: str | None) -> ServedVersion:
        if not name:
            raise Refused(grpc.StatusCode.INVALID_ARGUMENT, "ModelSpec has no name specified.")
        model = self._models.get(name, ServedModel())
        if number is None and label is None:
            if not model.versions:
                raise self._missing(name, self._states.get(name, {}), f"Latest({name})")
            return model.versions[max(model.versions)]
        wanted = _labelled(model, label or "") if number is None else number
        if wanted not in model.versions:
            known = self._states.get(name, {})
            asked = {wanted: known[wanted]} if wanted in known else {}
            raise self._missing(name, asked, f"Specific({name}, {wanted})")
        return model.versions[wanted]

    def _missing(self, name: str, asked: Mapping[int, VersionState], request: str) -> Refused:
        """UNAVAILABLE for what may come in a moment: clients retry that, but not NOT_FOUND.

        TensorFlow Serving opens its port when its models are loaded. Its own tests take the text of NOT_FOUND, for any
        model at all, to say that (``model_servers/test_util/tensorflow_model_server_test_base.py``).
        """
        if any(state.state in (State.START, State.LOADING) for state in asked.values()):
            return Refused(grpc.StatusCode.UNAVAILABLE, f"model {name} {BEING_LOADED}")
        if self._is_starting:
            return Refused(grpc.StatusCode.UNAVAILABLE, f"the server has just started; what it serves {BEING_LOADED}")
        return Refused(grpc.StatusCode.NOT_FOUND, f"Servable not found for request: {request}")

    # --- writing ----------------------------------------------------------------------------------------------------

    def finish_start(self) -> None:
        """The configured models were loaded, or failed: from now on, what is not there is NOT_FOUND."""
        self._is_starting = False

    def set_state(self, name: str, number: int, state: VersionState) -> None:
        """Sets the state of a version."""
        with self._writing:
            self._states = {**self._states, name: {**self._states.get(name, {}), number: state}}

    def publish_version(self, name: str, number: int, servable: Servable) -> None:
        """Lets a loaded version answer from now on."""
        with self._writing:
            model = self._models.get(name, ServedModel())
            self._swap(name, replace(model, versions={**model.versions, number: ServedVersion(number, servable)}))
        self.set_state(name, number, VersionState(State.AVAILABLE))

    def withdraw_version(self, name: str, number: int) -> ServedVersion:
        """Stops new calls to a version; the caller retires it, so that calls in flight can end."""
        self.set_state(name, number, VersionState(State.UNLOADING))
        with self._writing:
            model = self._models[name]
            rest = {other: version for other, version in model.versions.items() if other != number}
            self._swap(name, replace(model, versions=rest))
        return model.versions[number]

    def set_labels(self, labels: Mapping[str, Mapping[str, int]]) -> None:
        """Replaces the labels of all models."""
        with self._writing:
            names = {*self._models, *labels}
            self._models = {
                name: replace(self._models.get(name, ServedModel()), labels=labels.get(name, {})) for name in names
            }

    def _swap(self, name: str, model: ServedModel) -> None:
        self._models = {**self._models, name: model}


def _labelled(model: ServedModel, label: str) -> int:
    if label not in model.labels:
        raise Refused(grpc.StatusCode.INVALID_ARGUMENT, f"Unrecognized servable version label: {label}")
    return model.labels[label]
