"""What is true of answers, and where they came from, for the OpenAPI document."""

from datetime import datetime

from modelyard.models.registry.manifest import DataRecord
from modelyard.services.gateway.api.feedback import Told
from modelyard.services.gateway.openapi.body import Body


class FeedbackRequest(Told):
    """What is true of one row of an answered request: a label, by name or number, or a value."""


class FeedbackTaken(Body):
    """Whose answer it was, and whether it was right; null for numbers."""

    model: str
    version: int
    right: bool | None


class MadeBy(Body):
    """Where an answer came from."""

    request_id: str
    at: datetime
    model: str
    version: int
    predicted: str | float
    data: DataRecord
    job: str | None
