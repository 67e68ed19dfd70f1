"""Queues of jobs: their names, which one a job waits in, and whether a worker takes jobs from it. Loads no Celery."""

from collections.abc import Collection, Mapping

from modelyard.services.ledger import UNDER_WAY, Job, State

CPU_QUEUE, GPU_QUEUE = "train.cpu", "train.gpu"
NO_TRAINER = "no trainer is alive; the job starts when one does"
Workers = Mapping[str, Collection[str]]
"""Queues by the name of a live worker."""


def choose_queue(devices: str, served: Collection[str]) -> str:
    """Name of the queue for ``devices``; auto takes a GPU's if some worker has one."""
    if devices == "auto":
        return GPU_QUEUE if GPU_QUEUE in served else CPU_QUEUE
    if devices == "cpu":
        return CPU_QUEUE
    return gpu_queue_name(1 if devices == "gpu" else int(float(devices)))  # an older release kept 2.0 as it came


def gpu_queue_name(count: int) -> str:
    """Name of the queue of jobs that train on so many GPUs of one host."""
    return GPU_QUEUE if count == 1 else f"{GPU_QUEUE}.{count}"


def list_worker_queues(gpus: int) -> tuple[str, ...]:
    """Queues that a worker with so many GPUs takes jobs from; without any, the CPU's."""
    return tuple(gpu_queue_name(count) for count in range(1, gpus + 1)) or (CPU_QUEUE,)


def describe_queue(queue: str) -> str:
    """What a worker of this queue trains on, in words."""
    if queue == CPU_QUEUE:
        return "CPU"
    if queue == GPU_QUEUE:
        return "1 GPU"
    return f"{queue.rpartition('.')[2]} GPUs" if queue.startswith(f"{GPU_QUEUE}.") else queue


def list_served(workers: Workers) -> frozenset[str]:
    """Queues that some worker takes jobs from."""
    return frozenset(queue for queues in workers.values() for queue in queues)


def explain_wait(job: Job, workers: Workers) -> str | None:
    """Why no live worker will take a job; None if one runs it, one can take it, or it has ended."""
    waits = job.state is State.QUEUED or (job.state in UNDER_WAY and job.worker not in workers)
    return find_missing_worker(job.devices, list_served(workers)) if waits else None


def find_missing_worker(devices: str, served: Collection[str]) -> str | None:
    """The worker that jobs for ``devices`` lack, as text; None if some worker takes them."""
    if choose_queue(devices, served) in served:
        return None
    if not served:
        return NO_TRAINER
    return f"no trainer {_describe(devices)} is alive; the job starts when one does"


def _describe(devices: str) -> str:
    if devices in ("auto", "cpu"):
        return "for the CPU"
    return "with a GPU" if devices in ("gpu", "1") else f"with {devices} GPUs"
