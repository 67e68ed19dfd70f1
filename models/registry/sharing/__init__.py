"""A model store that several machines share: a bucket holds it, and each machine has a folder that follows. Slim."""
