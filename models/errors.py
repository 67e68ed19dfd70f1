"""The root of the one error tree. Each class carries its HTTP status, its exit code and a text fit for the public."""


class ModelyardError(Exception):
    """An expected failure. ``str(error)`` says what was expected and what was received, and holds no secret."""

    status: int = 500
    """HTTP status the gateway answers with."""
    exit_code: int = 1
    """Process exit status of the command line."""


class InvalidRecipe(ModelyardError):
    """A recipe name, key or value that the model does not accept."""

    status = 400
    exit_code = 2


class UnknownName(ModelyardError):
    """A model, version or signature that does not exist here."""

    status = 404
    exit_code = 2


class WrongBackend(ModelyardError):
    """Keras computes with another backend in this process than was asked for, and cannot change any more."""


class CorruptData(ModelyardError):
    """Dataset files or a stored version whose content is not what it must be."""


class DataUnavailable(ModelyardError):
    """Real data was required and could not be had."""


class StorageFailed(ModelyardError):
    """The model store, the data folder or the ledger cannot be written or read."""
