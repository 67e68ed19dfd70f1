"""redis-py, which would import OpenTelemetry wherever that is installed, for metrics of its own that nobody asks for.

It costs 0.2 s and some megabytes of every process; whoever traces has imported it before.
"""

from modelyard.models.imports import hide_module

with hide_module("opentelemetry"):
    from redis import Redis
    from redis.exceptions import RedisError

__all__ = ["Redis", "RedisError"]
