"""What is trained, where and when."""
