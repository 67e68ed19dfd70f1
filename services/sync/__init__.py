"""Follows a bucket with a folder, for the processes that serve from it. Slim."""
