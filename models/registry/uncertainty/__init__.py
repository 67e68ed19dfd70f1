"""What a version knows of its own uncertainty, as its manifest records it. Slim."""
