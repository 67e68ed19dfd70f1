"""Objects in a bucket, and what is decided there by conditional writes. Slim."""
