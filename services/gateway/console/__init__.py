"""The console: pages for people, over the public API."""
