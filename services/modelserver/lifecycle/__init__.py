"""Which versions are wanted, loaded and unloaded."""
