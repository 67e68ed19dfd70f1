"""Where our serving bends."""
