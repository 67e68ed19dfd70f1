"""The embedded model server: a development and single-machine stand-in for TensorFlow Serving. It is *not* TF Serving.

It speaks the same gRPC (``PredictionService``, ``ModelService``, health), reads the same ``models.config`` and the same
version folders, and takes flags of the same names, so that ``tensorflow/serving`` can take its place without any change
around it. TensorFlow's own C++ loader and session do the work, called from Python. Not built: the REST port,
request logging, the splitting of large batches.

Deliberate differences, all so that models keep answering; ``--strict`` (``lifecycle/strict.py``) takes those of starts
and reloads away, so that tests show what TensorFlow Serving would do:

- a missing base path, an empty one or an empty ``specific {}`` never unloads what is serving (TF Serving unloads it,
  and one missing base path stops the polling of every model);
- a version named by ``specific`` whose folder is missing is listed as END with the cause, not left out;
- a version that failed to load is tried again as soon as its folder or the configuration changes;
- a version that carries a manifest is loaded only if every checksum in it holds;
- a model that does not serve yet may have labels on versions that are about to load;
- calls in one batch do not fail together: those that cannot be joined run apart, and after a failure each runs alone;
- a tensor of more than 2**28 elements is refused before it is built.
"""
