"""Train Keras models from a job queue, let a version through only when it has earned it, serve it.

The sub-packages are the folders at the top of the repository: ``models``, ``pipeline`` and ``services``.
"""
