"""The commonest predictions without Flask: a JSON or raw body, or tensors, in either protocol.

Flask's own share of such a request is as large as everything else the gateway does for it (decision 0011). Whatever is
unusual is left to the view: ``respond`` then returns None, and has done nothing.
"""

from typing import Any

from modelyard.services.gateway.access_log import RequestRecord, record_response, response_headers
from modelyard.services.gateway.auth.principal import Principal
from modelyard.services.gateway.http.body import HttpRequest, HttpResponse, check_size
from modelyard.services.gateway.http.errors import render_error
from modelyard.services.gateway.http.headers import CLASS_HEADER, MULTIPART, HeaderList
from modelyard.services.gateway.http.paths import ModelPath
from modelyard.services.gateway.inference.prediction import OIP, TFS, Format, Predictions
from modelyard.services.gateway.metrics import Metrics

FORMATS: dict[str, Format[Any]] = {"predict": TFS, "infer": OIP}
"""By verb."""
UNUSUAL = frozenset({"content-encoding", "origin", CLASS_HEADER})
"""Headers of requests that need Flask: CORS, compressed bodies, bulk."""


class FastPath:
    """Responds to plain predictions."""

    def __init__(self, predictions: Predictions, metrics: Metrics) -> None:
        self._predictions = predictions
        self._metrics = metrics

    async def respond(
        self, path: ModelPath, query: str, request: HttpRequest, principal: Principal
    ) -> HttpResponse | None:
        """The response to one request; None leaves it to the view, which finds everything as it was."""
        form = FORMATS.get(path.verb)
        if form is None or path.rule is None or query or not UNUSUAL.isdisjoint(request.headers):
            return None
        if request.media_type == MULTIPART or not principal.may_predict(path.model):
            return None
        record = RequestRecord(request.headers["x-request-id"], path.model)
        self._metrics.in_flight.inc()
        try:
            status, found, content = await self._run(form, path, request, record)
        finally:
            self._metrics.in_flight.dec()
        record_response(record, self._metrics, "POST", path.rule, status, principal.name)
        length = ("content-length", str(len(content)))
        return HttpResponse(status, [*found, length, *response_headers(record)], content)

    async def _run(
        self, form: Format[Any], path: ModelPath, request: HttpRequest, record: RequestRecord
    ) -> tuple[int, HeaderList, bytes]:
        try:
            limits = self._predictions.limits
            check_size(request.body, limits, form.choose_size_setting(request.headers, request.media_type, limits))
            servable = path.servable()
            record.version = servable.version
            return 200, *await self._predictions.run(form, servable, request, record)
        except Exception as error:  # noqa: BLE001  # the outermost boundary of this path, as the view's error handler
            return render_error(error, record.request_id)
