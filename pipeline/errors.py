"""What can go wrong in a job, beyond what the model files and the store say."""

from models.errors import ModelyardError


class StageFailed(ModelyardError):
    """A stage's own process ended with an error; the text is its last words."""


class ExportRejected(ModelyardError):
    """The exported graph holds operations that a plain CPU server cannot run, or does not equal the trained model."""


class DevicesMissing(ModelyardError):
    """The process sees fewer devices than the recipe asks for."""
