"""What `modelyard` does, one command per file."""
