"""A whole system among faults."""
