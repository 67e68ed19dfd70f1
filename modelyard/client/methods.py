"""Methods made from routines: each call is written once, and is a blocking method here and a coroutine there.

The parameters, types and docstring of a method are those of its routine.
"""

import functools
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from typing import Any, Generic, ParamSpec, Protocol, TypeVar, overload

from modelyard.client.steps import Routine

P = ParamSpec("P")
T = TypeVar("T")


class Runs(Protocol):
    """What carries out routines."""

    def _run(self, routine: Routine[T]) -> T: ...
    def _iterate(self, routine: Routine[None]) -> Iterator[Any]: ...


class RunsAsync(Protocol):
    """The same on an event loop."""

    async def _run(self, routine: Routine[T]) -> T: ...
    def _iterate(self, routine: Routine[None]) -> AsyncIterator[Any]: ...


class _Method(Generic[P, T]):
    """A function that returns a routine, as a class has it: ``inspect`` and ``help`` find its parameters and text."""

    def __init__(self, routine: Callable[P, Routine[T]]) -> None:
        self._routine = routine
        self.__doc__ = routine.__doc__

    def _describe(self) -> Any:
        return self._routine


class Blocking(_Method[P, T]):
    """A method that returns what the routine returns."""

    @overload
    def __get__(self, owner: None, kind: type) -> Any: ...
    @overload
    def __get__(self, owner: Runs, kind: type) -> Callable[P, T]: ...
    def __get__(self, owner: Runs | None, kind: type) -> Any:
        """The bound method; on the class, the function."""
        if owner is None:
            return self._describe()

        @functools.wraps(self._routine)
        def method(*args: P.args, **kwargs: P.kwargs) -> T:
            return owner._run(self._routine(*args, **kwargs))  # noqa: SLF001  # the other half of this class

        return method


class Awaited(_Method[P, T]):
    """A coroutine that returns what the routine returns."""

    @overload
    def __get__(self, owner: None, kind: type) -> Any: ...
    @overload
    def __get__(self, owner: RunsAsync, kind: type) -> Callable[P, Coroutine[Any, Any, T]]: ...
    def __get__(self, owner: RunsAsync | None, kind: type) -> Any:
        """The bound method; on the class, the function."""
        if owner is None:
            return self._describe()

        @functools.wraps(self._routine)
        async def method(*args: P.args, **kwargs: P.kwargs) -> T:
            return await owner._run(self._routine(*args, **kwargs))  # noqa: SLF001  # likewise

        return method
