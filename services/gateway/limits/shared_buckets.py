"""Token buckets in Redis, which all gateways share. Redis's own clock counts, so theirs may differ."""

from collections.abc import Mapping
from functools import cached_property
from typing import Any

from modelyard.models.errors import ModelyardError
from modelyard.services.gateway.limits.token_bucket import Decision, Rate

TIMEOUT_S = 1.0
PREFIX = "modelyard:limit"
TAKE = """
local rate, burst, cost = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local time = redis.call('TIME')
local now = tonumber(time[1]) + tonumber(time[2]) / 1000000
local held = redis.call('HMGET', KEYS[1], 'tokens', 'at')
local tokens = tonumber(held[1]) or burst
tokens = math.min(burst, tokens + math.max(0, now - (tonumber(held[2]) or now)) * rate)
local allowed = 0
if ARGV[4] == 'always' or tokens >= cost then
  tokens = math.max(-burst, tokens - cost)
  allowed = 1
end
redis.call('HSET', KEYS[1], 'tokens', tostring(tokens), 'at', string.format('%.6f', now))
redis.call('PEXPIRE', KEYS[1], math.ceil((burst - tokens) / rate * 1000) + 1000)
return {allowed, tostring(tokens)}
"""
"""Takes tokens in one step, whoever else does so; ``always``: also if there are too few, as they are gone already."""


class LimitsUnavailable(ModelyardError):
    """Redis does not answer, so nobody knows what other gateways have let in."""

    status = 503


class SharedBuckets:
    """All clients' buckets in Redis. Connects at the first call."""

    def __init__(self, url: str) -> None:
        self._url = url.replace("redis+socket://", "unix://", 1)  # kombu's name of it, and redis-py's
        self._connections: list[Any] = []

    @cached_property
    def _take(self) -> Any:
        """The script; with the first call of it the client is loaded, which no gateway without limits needs."""
        from modelyard.services.tracing.redis_client import Redis

        timeouts = {"socket_timeout": TIMEOUT_S, "socket_connect_timeout": TIMEOUT_S}
        self._connections.append(Redis.from_url(self._url, **timeouts))
        return self._connections[0].register_script(TAKE)

    def take(self, kind: str, client: str, rate: Rate) -> Decision:
        """One token, if there is one; raises ``LimitsUnavailable``."""
        from modelyard.services.tracing.redis_client import RedisError

        try:
            allowed, tokens = self._take([f"{PREFIX}:{kind}:{client}"], [rate.per_s, rate.burst, 1, "once"])
        except (RedisError, OSError) as error:
            raise LimitsUnavailable("rate limits cannot be checked; try again later") from error
        return Decision(rate, float(tokens), bool(allowed))

    def record(self, kind: str, taken: Mapping[str, float], rate: Rate) -> dict[str, float]:
        """Records what was taken elsewhere; returns what each client has left. Raises ``LimitsUnavailable``."""
        from modelyard.services.tracing.redis_client import RedisError

        try:
            script = self._take
            with self._connections[0].pipeline(transaction=False) as pipeline:
                for client, count in taken.items():
                    arguments = [rate.per_s, rate.burst, count, "always"]
                    script([f"{PREFIX}:{kind}:{client}"], arguments, client=pipeline)
                found = pipeline.execute()
        except (RedisError, OSError) as error:
            raise LimitsUnavailable("what was taken could not be recorded") from error
        return {client: float(tokens) for client, (_, tokens) in zip(taken, found, strict=True)}

    def close(self) -> None:
        for connection in self._connections:
            connection.close()
