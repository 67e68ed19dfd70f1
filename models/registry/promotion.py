"""Promotion policy: which versions a person may give a role in a rollout."""

from modelyard.models.errors import ModelyardError
from modelyard.models.registry.manifest import Manifest
from modelyard.models.types import Source


class NotPromoted(ModelyardError):
    """The version may not answer, or its answers differ from training; says which."""

    status = 409


def find_objection(manifest: Manifest, stable: Manifest | None) -> str:
    """Why a version should not answer; empty if nothing speaks against it."""
    if not manifest.verdict.accepted:
        return f"version {manifest.version} failed its gate: {'; '.join(manifest.verdict.reasons)}"
    if read_source(manifest) == "sample" and stable and read_source(stable) == "real":
        return f"version {manifest.version} was trained on the sample, version {stable.version} on the real data"
    return ""


def read_source(manifest: Manifest) -> Source | None:
    """The kind of data that the version was trained on; None of an imported one."""
    return manifest.data.source if manifest.data else None


def check_promotion(manifest: Manifest, stable: Manifest | None, *, force: bool) -> str:
    """The objection that ``force`` overrules; empty if there is none. A person who forces it gives a reason.

    Raises:
        NotPromoted: there is an objection, and no force.
    """
    objection = find_objection(manifest, stable)
    if objection and not force:
        raise NotPromoted(f"{objection}; ask with force and a reason if it is to answer all the same")
    return objection


def check_force(reason: str, *, force: bool) -> None:
    """Raises ``ValueError`` where a gate is overruled without a reason."""
    if force and not reason.strip():
        raise ValueError("force needs a reason")
