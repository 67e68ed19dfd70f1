"""What a model does on inputs as people send them, and on inputs that are none of its kind."""
