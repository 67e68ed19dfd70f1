"""What is said of a version, and of the data that it was trained on, beside it in the store."""
