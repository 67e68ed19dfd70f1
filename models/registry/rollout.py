"""The rollout of each model: which versions are loaded, and which one answers.

``<store>/<model>/rollout.json`` is the source of truth; ``models.config`` is rendered from it. Every write is one
atomic replacement under the store's lock, so a rollback is one file write. Slim.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Annotated, Any

from pydantic import Field

from modelyard.models.errors import CorruptData
from modelyard.models.registry import history, serving_config
from modelyard.models.registry.history import Change
from modelyard.models.registry.manifest import FrozenModel
from modelyard.models.registry.roles.canary import Canary
from modelyard.models.registry.roles.placement import Placement
from modelyard.models.registry.roles.refusals import InvalidChange as InvalidChange  # noqa: PLC0414  # raised here
from modelyard.models.registry.roles.refusals import NoPreviousVersion as NoPreviousVersion  # noqa: PLC0414  # likewise
from modelyard.models.registry.roles.refusals import Overtaken as Overtaken  # noqa: PLC0414  # likewise
from modelyard.models.registry.roles.shadow import Shadow
from modelyard.models.registry.serving_config import NOTHING, Entry, read_present
from modelyard.models.registry.storage_errors import translate_storage_errors
from modelyard.models.registry.store import Store, first_line

FILE = "rollout.json"
CONFIG = serving_config.CONFIG
HISTORY_FILE = history.FILE
MAX_HISTORY = 200
"""Changes that ``rollout.json`` holds; the history file has all."""


class Rollout(FrozenModel):
    """The roles of a model's versions."""

    stable: int | None = None
    canary: Canary | None = None
    shadow: Shadow | None = None
    labels: Mapping[str, Annotated[int, Field(ge=1)]] = {}
    """Versions by custom label, beside ``stable``, ``canary`` and ``shadow``."""
    keep: tuple[int, ...] = ()
    """Versions that are loaded and answer no unpinned request: the previous stable, and those about to be promoted."""
    fallback: Annotated[bool, Field(description="Whether the version before answers while this one is damaged.")] = True
    placement: Placement = Placement()
    history: tuple[Change, ...] = ()

    def to_json(self) -> bytes:
        """As ``rollout.json`` has it; a model that was always in the default pool says nothing of pools."""
        usual = {"placement"} if self.placement == Placement() else None
        return self.model_dump_json(indent=1, exclude=usual).encode()

    @property
    def loaded(self) -> tuple[int, ...]:
        """Every version that the model server must load, ascending."""
        return tuple(sorted({*self.keep, *self.all_labels.values()}))

    @property
    def all_labels(self) -> Mapping[str, int]:
        """Versions by label, built-in and custom."""
        built_in = {"stable": self.stable} if self.stable is not None else {}
        if self.canary:
            built_in["canary"] = self.canary.version
        if self.shadow:
            built_in["shadow"] = self.shadow.version
        return {**self.labels, **built_in}

    def preload(self, version: int) -> "Rollout":
        """Has a version loaded without letting it answer."""
        return self.model_copy(update={"keep": tuple(sorted({*self.keep, version}))})

    def promote(self, version: int, *, by: str, reason: str, detail: dict[str, Any] | None = None) -> "Rollout":
        """Makes a version stable; the previous stable stays loaded if it is lower, everything else kept is unloaded.

        A canary or shadow of the same version ends; any other one starts again, as it is compared with another stable.
        """
        previous = (self.stable,) if self.stable is not None and self.stable < version else ()
        canary, shadow = self.canary, self.shadow
        update = {
            "canary": None if not canary or canary.version == version else canary.restart(),
            "shadow": None if not shadow or shadow.version == version else shadow.restart(),
        }
        return self._changed("promote", version, by, reason, detail, stable=version, keep=previous, **update)

    @property
    def previous(self) -> int | None:
        """The version that was stable before this one was promoted. Each rollback goes further back, never forth."""
        stables: list[int] = []
        for change in self.history:
            if change.action == "promote" and change.version not in stables[-1:]:
                stables.append(change.version)
            elif change.action == "rollback":
                while stables and stables[-1] != change.version:
                    stables.pop()
        return stables[-2] if stables[-1:] == [self.stable] and len(stables) > 1 else None

    def rollback(self, *, by: str, reason: str, detail: dict[str, Any] | None = None) -> "Rollout":
        """Makes the previous version stable again, at once: it is loaded. The stable of until now is unloaded.

        Model servers would give it, as the higher number, to whoever names no version. A canary ends: it was compared
        with a version that does not answer any more.

        Raises:
            NoPreviousVersion: no version was stable before, or it is not loaded any more.
        """
        version = self.previous
        if version is None or version not in self.loaded:
            loaded = f"version {version} is not loaded any more; promote it" if version else "none answered before"
            raise NoPreviousVersion(f"version {self.stable} stays: {loaded}")
        assert self.stable is not None
        lower = {self.stable} if self.stable < version else set()
        keep = tuple(sorted({*self.keep, *lower} - {version}))
        experiments = {"canary": None, "shadow": self.shadow and self.shadow.restart()}
        detail = {"from": self.stable, **(detail or {})}
        return self._changed("rollback", version, by, reason, detail, stable=version, keep=keep, **experiments)

    def start_canary(self, canary: Canary, *, by: str, reason: str, detail: dict[str, Any] | None = None) -> "Rollout":
        """Lets a loaded version answer a share of the unpinned requests, in place of the present canary.

        The same version with another share keeps its observations.

        Raises:
            InvalidChange: nothing is stable, or the version is.
        """
        if self.stable is None or canary.version == self.stable:
            why = "is stable already" if self.stable else "would be alone; promote it"
            raise InvalidChange(f"version {canary.version} {why}")
        detail = {"percent": canary.percent, **canary.plan, **(detail or {})}
        if self.canary and self.canary.version == canary.version:
            canary = canary.model_copy(update={"since": self.canary.since})
        keep = self._kept_without(canary.version)
        return self._changed("canary", canary.version, by, reason, detail, canary=canary, keep=keep)

    def step_canary(self, percent: float, *, by: str, reason: str, detail: dict[str, Any]) -> "Rollout":
        """Gives the canary its next share; its observations stay."""
        assert self.canary
        canary, detail = self.canary.model_copy(update={"percent": percent}), {"percent": percent, **detail}
        return self._changed("canary step", canary.version, by, reason, detail, canary=canary)

    def end_canary(self, *, by: str, reason: str, detail: dict[str, Any] | None = None) -> "Rollout":
        """Ends the canary: it gets no more requests, and is unloaded.

        Raises:
            InvalidChange: there is no canary.
        """
        if self.canary is None:
            raise InvalidChange("there is no canary")
        return self._changed("end canary", self.canary.version, by, reason, detail, canary=None)

    def start_shadow(self, shadow: Shadow, *, by: str, reason: str, detail: dict[str, Any] | None = None) -> "Rollout":
        """Sends copies of the stable version's requests to a loaded version.

        Raises:
            InvalidChange: nothing is stable, or the version is.
        """
        if self.stable is None or shadow.version == self.stable:
            why = "is stable already" if self.stable else "has nothing to follow: no version is stable"
            raise InvalidChange(f"version {shadow.version} {why}")
        keep = self._kept_without(shadow.version)
        return self._changed("shadow", shadow.version, by, reason, detail, shadow=shadow, keep=keep)

    def end_shadow(self, *, by: str, reason: str) -> "Rollout":
        """Ends the shadow; raises ``InvalidChange`` if there is none."""
        if self.shadow is None:
            raise InvalidChange("there is no shadow")
        return self._changed("end shadow", self.shadow.version, by, reason, None, shadow=None)

    def label(
        self, name: str, version: int, *, by: str, reason: str, detail: dict[str, Any] | None = None
    ) -> "Rollout":
        """Gives a loaded version a label, and takes it from the version that has it."""
        labels, detail = {**self.labels, name: version}, {"label": name, **(detail or {})}
        keep = self._kept_without(version)
        return self._changed("label", version, by, reason, detail, labels=labels, keep=keep)

    def unlabel(self, name: str, *, by: str, reason: str) -> "Rollout":
        """Removes a label; raises ``InvalidChange`` if no version has it."""
        if name not in self.labels:
            raise InvalidChange(f"no version is labelled {name!r}")
        labels = {label: version for label, version in self.labels.items() if label != name}
        return self._changed("unlabel", self.labels[name], by, reason, {"label": name}, labels=labels)

    def unload(self, version: int) -> "Rollout":
        """Unloads a version that was preloaded, without a word in the history."""
        return self.model_copy(update={"keep": tuple(number for number in self.keep if number != version)})

    def move(self, *, by: str, reason: str, detail: dict[str, Any] | None = None) -> "Rollout":
        """Has the pool that has loaded the model answer for it."""
        placement = self.placement.switch()
        detail = {"left": self.placement.pool, "pool": placement.pool, **(detail or {})}
        return self._changed("move", self.stable or 0, by, reason, detail, placement=placement)

    def require_stable(self, version: int | None) -> None:
        """Checks that this version is still stable; None asks for nothing.

        Raises:
            Overtaken: another one is.
        """
        if version in (None, self.stable):
            return
        found, said = (c for c in reversed(self.history) if c.action in ("promote", "rollback")), ""
        if last := next(found, None):
            said = f" ({last.action} by {last.by} at {last.at:%H:%M:%S} UTC: {last.detail.get('why') or last.reason})"
        raise Overtaken(f"nothing was changed: version {version} is not stable any more, {self.stable} is{said}")

    def reject(self, version: int, *, by: str, reason: str, detail: dict[str, Any] | None = None) -> "Rollout":
        """Unloads a version that was preloaded and was not promoted."""
        return self._changed("reject", version, by, reason, detail, keep=self.unload(version).keep)

    def note_import(self, version: int, *, by: str, reason: str) -> "Rollout":
        """Records that a version was imported; it gets its role by other changes."""
        return self._changed("import", version, by, reason, None)

    def remove(self, version: int, *, by: str, reason: str) -> "Rollout":
        """Records that a version is deleted; raises ``InvalidChange`` if it has a role."""
        if version in self.loaded:
            raise InvalidChange(f"version {version} has a role")
        return self._changed("remove", version, by, reason, None)

    @property
    def entry(self) -> Entry:
        """What the model server's configuration should have of it."""
        stables = (change.version for change in reversed(self.history) if change.action in ("promote", "rollback"))
        reserves = dict.fromkeys(number for number in stables if number < (self.stable or 0))
        return Entry(self.loaded, self.all_labels, tuple(reserves), pools=self.placement.list_pools())

    def _kept_without(self, version: int) -> tuple[int, ...]:
        """``keep`` without a version that gets a role; the previous stable stays in it."""
        return tuple(number for number in self.keep if number != version or number == self.previous)

    def _changed(
        self, action: str, version: int, by: str, reason: str, detail: dict[str, Any] | None, **update: Any
    ) -> "Rollout":
        change = Change(at=datetime.now(UTC), action=action, version=version, by=by, reason=reason, detail=detail or {})
        return self.model_copy(update={**update, "history": (*self.history, change)[-MAX_HISTORY:]})


def read_rollout(store: Store, model: str) -> Rollout:
    """The rollout of a model; an empty one if nothing was ever promoted. Raises ``CorruptData``."""
    try:
        return parse_rollout(model, (store.folder(model) / FILE).read_bytes())
    except FileNotFoundError:
        return Rollout()


def parse_rollout(model: str, content: bytes | None) -> Rollout:
    """A rollout from its file; an empty one if there is none. Raises ``CorruptData``."""
    try:
        return Rollout() if content is None else Rollout.model_validate_json(content)
    except ValueError as error:
        raise CorruptData(f"rollout of {model} is damaged: {first_line(error)}") from error


def change_rollout(store: Store, model: str, edit: Callable[[Rollout], Rollout]) -> Rollout:
    """Reads, edits and writes a rollout under the store's lock, then renders the model server's configuration."""

    def change(content: bytes | None) -> bytes:
        return edit(parse_rollout(model, content)).to_json()

    with store.change_pointers():
        changed = parse_rollout(model, store.change_document(store.folder(model) / FILE, change, history.is_made))
        serving_config.write(store, read_wanted(store))
        path = store.folder(model) / HISTORY_FILE
        store.change_file(path, lambda: history.append_missing(path, changed.history), may_wait=True)
        return changed


def read_history(store: Store, model: str) -> tuple[Change, ...]:
    """Every change ever made to a model's rollout, the oldest first. Raises ``CorruptData``."""
    written = history.parse_lines(history.read_lines(store.folder(model) / HISTORY_FILE))
    return (*written, *history.find_missing(read_rollout(store, model).history, written))


def complete_history(store: Store, model: str) -> list[bytes]:
    """A model's history, with the lines that an interrupted process did not append. Raises ``StorageFailed``."""
    path = store.folder(model) / HISTORY_FILE
    with store.lock(), translate_storage_errors():
        store.change_file(path, lambda: history.append_missing(path, read_rollout(store, model).history))
        return history.read_lines(path)


def read_wanted(store: Store) -> dict[str, Entry]:
    """What the rollouts want loaded, by model; of one whose rollout is damaged, what the configuration has."""
    wanted = {}
    for model in store.models():
        try:
            wanted[model] = read_rollout(store, model).entry
        except CorruptData as error:
            wanted[model] = replace(read_present(store).get(model, NOTHING), fault=str(error))
    return wanted
