"""Which version predicts, on which replica, in which batch."""
