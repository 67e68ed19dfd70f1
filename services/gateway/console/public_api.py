"""Calls the public API in process, for a page: the same views, permissions and answers as over HTTP.

So that a page can show nothing that a client could not have.
"""

import io
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode

import orjson
from flask import Flask, Response, current_app, request

from modelyard.models.errors import ModelyardError


class PublicApi:
    """What pages ask; of the current application and request."""

    def get(self, path: str, **query: Any) -> Any:
        """The JSON of ``GET path``; None values are left out of the query.

        Raises:
            ModelyardError: the view's error, such as ``UnknownName`` or ``Forbidden``.
        """
        return orjson.loads(self._call(path, query).get_data())

    def find(self, path: str, **query: Any) -> Any:
        """The same as ``get``; None where there is no such thing, or the principal may not see it."""
        try:
            return self.get(path, **query)
        except ModelyardError as error:
            if error.status in (403, 404):
                return None
            raise

    def attempt(self, path: str, **query: Any) -> tuple[Any, str]:
        """The same as ``get``, for a part of a page that others do without: None and what is wrong, if it fails."""
        try:
            return self.get(path, **query), ""
        except ModelyardError as error:
            return None, str(error)

    def _call(self, path: str, query: Mapping[str, Any]) -> Response:
        app: Flask = current_app._get_current_object()  # type: ignore[attr-defined]  # noqa: SLF001  # as Flask documents it
        app.extensions["metrics"].in_flight.inc()  # the end of every context takes one away
        with app.request_context(make_environ(path, query)):
            return app.make_response(app.dispatch_request())


def make_environ(path: str, query: Mapping[str, Any]) -> dict[str, Any]:
    """The environment of a request that this one's page makes: its client, headers and id."""
    given = {name: value for name, value in query.items() if value is not None}
    return {name: value for name, value in request.environ.items() if not name.startswith("werkzeug.")} | {
        "REQUEST_METHOD": "GET",
        "PATH_INFO": path.encode().decode("latin-1"),
        "QUERY_STRING": urlencode(given, doseq=True),
        "CONTENT_LENGTH": "0",
        "wsgi.input": io.BytesIO(),
    }
