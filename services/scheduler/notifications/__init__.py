"""Notifications by a webhook: what is told, to whom, and how often it is tried."""
