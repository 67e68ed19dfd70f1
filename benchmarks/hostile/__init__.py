"""How long a hostile caller can hold the gateway's event loop."""
