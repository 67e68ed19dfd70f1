"""Flags of TensorFlow Serving that this server has no setting for, and those that do nothing."""

from collections.abc import Sequence

WITHOUT_EFFECT = {
    "rest_api_num_threads": "this server has no REST port",
    "rest_api_timeout_in_ms": "this server has no REST port; the gateway's is MODELYARD_PREDICT_TIMEOUT_S",
    "rest_api_enable_cors_support": "this server has no REST port; the gateway's is MODELYARD_CORS_ORIGINS",
    "num_load_threads": "versions are loaded one after the other, and at the start as many at once as there are cores",
    "num_unload_threads": "versions are unloaded by the thread that loads them",
    "flush_filesystem_caches": "they are left to the operating system",
    "tensorflow_session_config_file": "sessions are set by the flags for parallelism",
    "platform_config_file": "the only platform is tensorflow",
    "per_process_gpu_memory_fraction": "this server computes on CPUs",
    "remove_unused_fields_from_bundle_metagraph": "only the signatures of a graph are kept",
    "prefer_tflite_model": "SavedModels are run by TensorFlow",
    "num_tflite_pools": "SavedModels are run by TensorFlow",
    "num_tflite_interpreters_per_pool": "SavedModels are run by TensorFlow",
    "xla_cpu_compilation_enabled": "graphs are run as they are",
    "xla_gpu_compilation_enabled": "graphs are run as they are",
    "mixed_precision": "graphs are run in their own precision",
    "enable_profiler": "there is none",
    "thread_pool_factory_config_file": "threads are set by --grpc_max_threads",
    "skip_initialize_tpu": "this server computes on CPUs",
}
"""Flags of TensorFlow Serving that are taken, so that its command lines work, and why each does nothing here."""
NEEDS_OTHER = {
    "rest_api_port": "the metrics of --monitoring_config_file alone are shown there; the gateway speaks TensorFlow "
    "Serving's REST API",
    "monitoring_config_file": "metrics are shown on --rest_api_port",
}
"""Flags that do nothing here one without the other, and why."""
REFUSED = ("use_alts_credentials",)
"""Flags of TensorFlow Serving that must not be ignored: a client would believe itself protected."""


def list_flags_without_effect(arguments: Sequence[str]) -> dict[str, str]:
    """Those among the flags that were parsed, in order, and why they have none."""
    given = [argument.removeprefix("--").partition("=")[0] for argument in arguments if argument.startswith("--")]
    known = WITHOUT_EFFECT if NEEDS_OTHER.keys() <= set(given) else WITHOUT_EFFECT | NEEDS_OTHER
    return {name: known[name] for name in given if name in known}
