"""What versions take in a model server, beside what ``MODELYARD_POOL_MEMORY`` reckons with."""
