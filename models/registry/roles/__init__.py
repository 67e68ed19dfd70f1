"""Roles that a version may have in a rollout."""
