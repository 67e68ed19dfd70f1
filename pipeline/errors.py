"""Errors of a job, beside those of the models and the store."""

from modelyard.models.errors import ModelyardError


class StageFailed(ModelyardError):
    """A stage's own process ended with an error; the text has the last line that it wrote."""


class ExportRejected(ModelyardError):
    """The exported graph has operations that a plain CPU server cannot run, or differs from the trained model."""


class DevicesMissing(ModelyardError):
    """The process sees fewer devices than the recipe needs."""


class TrainingFailed(ModelyardError):
    """Training ended without a model that could be exported."""


class LossNotFinite(TrainingFailed):
    """The loss became NaN or infinite, after which no weight can be used."""


class ImportRefused(ModelyardError):
    """What cannot be imported, or test data that does not fit it; names the file, signature, field or row."""

    status = 400
    exit_code = 2
