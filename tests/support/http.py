"""The client of tests that ask a service now and then: to make one costs as much as fifteen requests.

It keeps no connection: services come and go. Clients of one service take ``WITHOUT_TLS``.
"""

from collections.abc import Mapping
from typing import Any

import httpx

WITHOUT_TLS: Mapping[str, Any] = {"trust_env": False, "verify": False}
"""Options of a client that asks no address by https: to read whom to trust takes most of the time to make one."""
http = httpx.Client(timeout=60, **WITHOUT_TLS, limits=httpx.Limits(max_keepalive_connections=0))
