"""What is learned of a trained model's uncertainty, on examples that it was not fitted to. Numpy alone."""
