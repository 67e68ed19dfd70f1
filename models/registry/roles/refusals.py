"""Why a rollout is not changed."""

from modelyard.models.errors import ModelyardError


class NoPreviousVersion(ModelyardError):
    """A rollback without an earlier version that is loaded."""

    status = 409


class InvalidChange(ModelyardError):
    """A change of the rollout that is not possible; the text says why."""

    status = 409


class Overtaken(InvalidChange):
    """The rollout is no longer as whoever asks for the change saw it; the text says who changed it."""
