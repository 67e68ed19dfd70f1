"""What the parts of an answer cost by themselves, so that each goal that was missed has a bound beside it."""
