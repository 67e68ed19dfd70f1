"""The client of tests that ask a service now and then: to make one costs as much as fifteen requests.

It keeps no connection: services come and go.
"""

import httpx

http = httpx.Client(timeout=30, trust_env=False, limits=httpx.Limits(max_keepalive_connections=0))
