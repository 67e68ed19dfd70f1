"""Which versions serve. ``<store>/<model>/rollout.json`` is the source of truth; ``models.config`` is rendered from it.

Slim. Every write is one atomic replacement under the store's lock, so a rollback is one file write.
"""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Annotated, Any, TypeVar

from pydantic import Field

from modelyard.models.errors import CorruptData, ModelyardError
from modelyard.models.registry.manifest import Frozen
from modelyard.models.registry.store import Store, first_line, replace_file

FILE = "rollout.json"
CONFIG = "models.config"
JOURNAL = "history.jsonl"
HISTORY = 200
"""Changes that the rollout itself holds; the journal has all."""


class NothingToRollBackTo(ModelyardError):
    """No earlier version can answer at once."""

    status = 409


class NotPossible(ModelyardError):
    """A change that would make no sense; says why."""

    status = 409


class Canary(Frozen):
    """A version that gets ``percent`` of the unpinned requests."""

    version: int
    percent: Annotated[float, Field(ge=0, le=100)]
    since: datetime
    """When it began; marks what is observed of it."""
    judged: bool = True
    """Whether it is promoted or rolled back by what is observed; else a person decides."""
    enough: Annotated[int, Field(ge=1)] = 10_000
    """Answers after which it is promoted if nothing speaks against it."""


class Shadow(Frozen):
    """A version that is asked what the stable one answered, and whose answers nobody gets."""

    version: int
    since: datetime


Trial = TypeVar("Trial", Canary, Shadow)


class Change(Frozen):
    """One line of a model's history."""

    at: datetime
    action: str
    version: int
    by: str
    reason: str
    detail: dict[str, Any] = Field(default_factory=dict)


class Rollout(Frozen):
    """Which versions of a model are loaded, and which one answers."""

    stable: int | None = None
    canary: Canary | None = None
    shadow: Shadow | None = None
    labels: Mapping[str, Annotated[int, Field(ge=1)]] = {}
    """Versions by names of a person's choice, beside ``stable``, ``canary`` and ``shadow``."""
    keep: tuple[int, ...] = ()
    """Loaded, but not answering unpinned requests: the previous stable, and versions about to be promoted."""
    history: tuple[Change, ...] = ()

    @property
    def loaded(self) -> tuple[int, ...]:
        """Every version the model server must hold, ascending."""
        return tuple(sorted({*self.keep, *self.named.values()}))

    @property
    def named(self) -> Mapping[str, int]:
        """Every label that a version bears, ours and a person's."""
        ours = {"stable": self.stable} if self.stable is not None else {}
        if self.canary:
            ours["canary"] = self.canary.version
        if self.shadow:
            ours["shadow"] = self.shadow.version
        return {**self.labels, **ours}

    def preload(self, version: int) -> "Rollout":
        """Asks for a version to be loaded without letting it answer."""
        return self.model_copy(update={"keep": tuple(sorted({*self.keep, version}))})

    def promote(self, version: int, *, by: str, reason: str, detail: dict[str, Any] | None = None) -> "Rollout":
        """Makes a version answer; the previous stable stays loaded, everything older is let go.

        A canary or shadow of the same version has ended with that; another canary would be compared with another
        stable, and begins anew.
        """
        previous = () if self.stable in (None, version) else (self.stable,)
        canary, shadow = self.canary, self.shadow
        update = {
            "canary": None if not canary or canary.version == version else _again(canary),
            "shadow": None if not shadow or shadow.version == version else _again(shadow),
        }
        return self._changed("promote", version, by, reason, detail, stable=version, keep=previous, **update)

    @property
    def previous(self) -> int | None:
        """The version that answered before this one was promoted. Rolling back goes further back, never forth."""
        answered: list[int] = []
        for change in self.history:
            if change.action == "promote" and change.version not in answered[-1:]:
                answered.append(change.version)
            elif change.action == "rollback":
                while answered and answered[-1] != change.version:
                    answered.pop()
        return answered[-2] if answered[-1:] == [self.stable] and len(answered) > 1 else None

    def rollback(self, *, by: str, reason: str) -> "Rollout":
        """Makes the previous version answer again, at once: it is loaded. What answered until now stays loaded.

        A canary ends with that: it was compared with a version that does not answer any more.

        Raises:
            NothingToRollBackTo: no version answered before, or it is not loaded any more.
        """
        version = self.previous
        if version is None or version not in self.loaded:
            loaded = f"version {version} is not loaded any more; promote it" if version else "none answered before"
            raise NothingToRollBackTo(f"version {self.stable} stays: {loaded}")
        assert self.stable is not None
        keep = tuple(sorted({*self.keep, self.stable} - {version}))
        trials = {"canary": None, "shadow": self.shadow and _again(self.shadow)}
        detail = {"from": self.stable}
        return self._changed("rollback", version, by, reason, detail, stable=version, keep=keep, **trials)

    def start_canary(self, canary: Canary, *, by: str, reason: str, detail: dict[str, Any] | None = None) -> "Rollout":
        """Lets a loaded version answer a share of the unpinned requests, instead of a canary that there is.

        The same version with another share goes on with what was observed of it.

        Raises:
            NotPossible: nothing is stable, or the version is.
        """
        if self.stable is None or canary.version == self.stable:
            why = "is stable already" if self.stable else "would be alone; promote it"
            raise NotPossible(f"version {canary.version} {why}")
        said = {"percent": canary.percent, **(detail or {})}
        if self.canary and self.canary.version == canary.version:
            canary = canary.model_copy(update={"since": self.canary.since})
        keep = self._kept_without(canary.version)
        return self._changed("canary", canary.version, by, reason, said, canary=canary, keep=keep)

    def end_canary(self, *, by: str, reason: str, detail: dict[str, Any] | None = None) -> "Rollout":
        """Takes the canary's share away and lets go of it.

        Raises:
            NotPossible: there is none.
        """
        if self.canary is None:
            raise NotPossible("there is no canary")
        return self._changed("end canary", self.canary.version, by, reason, detail, canary=None)

    def start_shadow(self, shadow: Shadow, *, by: str, reason: str, detail: dict[str, Any] | None = None) -> "Rollout":
        """Has a loaded version asked what the stable one answered.

        Raises:
            NotPossible: nothing is stable, or the version is.
        """
        if self.stable is None or shadow.version == self.stable:
            why = "is stable already" if self.stable else "has nothing to follow: no version is stable"
            raise NotPossible(f"version {shadow.version} {why}")
        keep = self._kept_without(shadow.version)
        return self._changed("shadow", shadow.version, by, reason, detail, shadow=shadow, keep=keep)

    def end_shadow(self, *, by: str, reason: str) -> "Rollout":
        """Raises ``NotPossible`` if there is none."""
        if self.shadow is None:
            raise NotPossible("there is no shadow")
        return self._changed("end shadow", self.shadow.version, by, reason, None, shadow=None)

    def label(
        self, name: str, version: int, *, by: str, reason: str, detail: dict[str, Any] | None = None
    ) -> "Rollout":
        """Gives a loaded version a name, which another one may have borne."""
        labels, said = {**self.labels, name: version}, {"label": name, **(detail or {})}
        keep = self._kept_without(version)
        return self._changed("label", version, by, reason, said, labels=labels, keep=keep)

    def unlabel(self, name: str, *, by: str, reason: str) -> "Rollout":
        """Raises ``NotPossible`` if no version bears the name."""
        if name not in self.labels:
            raise NotPossible(f"no version is labelled {name!r}")
        labels = {label: version for label, version in self.labels.items() if label != name}
        return self._changed("unlabel", self.labels[name], by, reason, {"label": name}, labels=labels)

    def drop(self, version: int, *, by: str, reason: str, detail: dict[str, Any] | None = None) -> "Rollout":
        """Lets go of a version that was preloaded and did not make it."""
        keep = tuple(number for number in self.keep if number != version)
        return self._changed("reject", version, by, reason, detail, keep=keep)

    def remove(self, version: int, *, by: str, reason: str) -> "Rollout":
        """Writes down that a version is no more; raises ``NotPossible`` if it has a role."""
        if version in self.loaded:
            raise NotPossible(f"version {version} has a role")
        return self._changed("remove", version, by, reason, None)

    def _kept_without(self, version: int) -> tuple[int, ...]:
        """What stays loaded for its own sake when a version is loaded for another reason; the previous one does."""
        return tuple(number for number in self.keep if number != version or number == self.previous)

    def _changed(
        self, action: str, version: int, by: str, reason: str, detail: dict[str, Any] | None, **update: Any
    ) -> "Rollout":
        change = Change(at=datetime.now(UTC), action=action, version=version, by=by, reason=reason, detail=detail or {})
        return self.model_copy(update={**update, "history": (*self.history, change)[-HISTORY:]})


def _again(trial: Trial) -> Trial:
    """The same, beginning now."""
    return trial.model_copy(update={"since": datetime.now(UTC)})


def read(store: Store, model: str) -> Rollout:
    """The rollout of a model; an empty one if nothing was ever promoted.

    Raises:
        CorruptData: the file cannot be understood.
    """
    try:
        return Rollout.model_validate_json((store.folder(model) / FILE).read_bytes())
    except FileNotFoundError:
        return Rollout()
    except ValueError as error:
        raise CorruptData(f"rollout of {model} is damaged: {first_line(error)}") from error


def change(store: Store, model: str, edit: Callable[[Rollout], Rollout]) -> Rollout:
    """Reads, edits and writes a rollout under the store's lock, then renders the model server's configuration."""
    with store.lock():
        changed = edit(read(store, model))
        replace_file(store.folder(model) / FILE, changed.model_dump_json(indent=1).encode())
        write_config(store)
        _write_journal(store, model, changed)
        return changed


def journal(store: Store, model: str) -> tuple[Change, ...]:
    """Every change ever made to a model's rollout, the oldest first."""
    try:
        lines = (store.folder(model) / JOURNAL).read_bytes().splitlines()
    except FileNotFoundError:
        return read(store, model).history
    written = tuple(Change.model_validate_json(line) for line in lines)
    return (*written, *_after(read(store, model).history, written))


def _write_journal(store: Store, model: str, changed: Rollout) -> None:
    """Adds what it does not have yet: also what was not added when a change was cut short."""
    path = store.folder(model) / JOURNAL
    lines = path.read_bytes().splitlines() if path.exists() else []
    missing = _after(changed.history, tuple(map(Change.model_validate_json, lines[-1:])))
    with path.open("ab") as file:
        file.writelines(change.model_dump_json().encode() + b"\n" for change in missing)


def _after(changes: tuple[Change, ...], written: tuple[Change, ...]) -> tuple[Change, ...]:
    return tuple(change for change in changes if not written or change.at > written[-1].at)


def write_config(store: Store) -> None:
    """Renders ``models.config`` from all rollouts."""
    replace_file(store.root / CONFIG, render(store).encode())


def render(store: Store) -> str:
    """TensorFlow Serving's ``ModelServerConfig`` in text format, with specific versions only.

    A model without a version is left out: its base path would make the server unload, or wait for, everything.
    Labels are left out too: the server validates them before it has loaded the versions they name, and the gateway
    resolves them itself.
    """
    entries = []
    for model in store.models():
        loaded = read(store, model).loaded
        if loaded:
            versions = " ".join(f"versions: {number}" for number in loaded)
            entries.append(
                f'  config {{ name: "{model}" base_path: "{store.folder(model).resolve()}" '
                f'model_platform: "tensorflow" model_version_policy {{ specific {{ {versions} }} }} }}\n'
            )
    return "model_config_list {\n" + "".join(entries) + "}\n"
