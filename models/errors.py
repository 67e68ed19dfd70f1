"""The root of the one error tree. Each class has an HTTP status and an exit code; its text is fit for the public."""

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from difflib import get_close_matches
from pathlib import Path


class ModelyardError(Exception):
    """An expected failure. Its text names what was expected and what was received, and holds no secret."""

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
    """Keras was imported in this process with another backend than requested, and cannot change it."""


class InvalidSpec(ModelyardError):
    """A model's file that cannot be used: it does not import, or its ``SPEC`` does not fit together."""

    status = 400
    exit_code = 2


class InvalidData(ModelyardError):
    """The user's own data cannot be used; names the file, the row or the field."""

    status = 400
    exit_code = 2


@contextmanager
def paths_as_written(folder: Path) -> Iterator[None]:
    """Errors of data that is read from a model's folder name its files as the model's file does, relative to it."""
    try:
        yield
    except InvalidData as error:
        raise InvalidData(str(error).replace(f"{folder}{os.sep}", "")) from error


class CorruptData(ModelyardError):
    """Dataset files or a stored version with unexpected content."""


class DataUnavailable(ModelyardError):
    """Real data was required and is not available."""


class StorageFailed(ModelyardError):
    """The model store, the data folder or the ledger cannot be written or read at present."""

    status = 503


class Superseded(ModelyardError):
    """A later attempt of the job has taken over: this one may publish nothing any more."""


def describe_problem(message: str) -> str:
    """What pydantic says of a value, as one sentence: our own refusals without the name of the exception."""
    return message.removeprefix("Value error, ")


def describe_unknown(what: str, name: str, valid: Iterable[str]) -> str:
    """``unknown model 'mnst'; did you mean mnist_cnn?``; the text lists all valid names if none is close."""
    candidates = sorted(valid)
    close = get_close_matches(name, candidates, n=3, cutoff=0.6)
    if close:
        return f"unknown {what} {name!r}; did you mean {', '.join(close)}?"
    return f"unknown {what} {name!r}; valid: {', '.join(candidates) or 'none yet'}"
