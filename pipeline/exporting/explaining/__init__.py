"""Why a version answers as it does: weights of pixels, words, columns and steps, computed inside the exported graph.

TensorFlow code, for the export process only; ``background`` is numpy alone.
"""
