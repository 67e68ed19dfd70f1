"""What a call to the model server costs."""
