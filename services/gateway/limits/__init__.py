"""Rate limits per client: token buckets in this process, shared with other gateways through Redis."""
