"""Which version answers, on which replica, in which batch."""
