"""A user's project: its folder, its settings, and which of its models can be trained."""
