"""Pages of what happens by itself: traffic, drift and feedback, and triggers."""
