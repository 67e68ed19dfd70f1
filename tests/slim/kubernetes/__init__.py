"""deploy/kubernetes: every overlay as kubectl renders it, looked at from all sides. Nothing runs."""
