"""From a socket to a body: granian's RSGI, admission, and the bridge to Flask."""
