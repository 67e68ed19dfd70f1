"""What a version takes, as the gateway and people see it."""
