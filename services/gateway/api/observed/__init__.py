"""What was observed of versions while they answered: their traffic, and the evidence about a canary."""
