"""Free space of the disks that a process writes to, as metrics."""

import shutil
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path

from prometheus_client.metrics_core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

FREE, SIZE = "modelyard_disk_free_bytes", "modelyard_disk_bytes"


class Disks(Collector):
    """Of the disk that each folder is on."""

    def __init__(self, folders: Mapping[str, Path]) -> None:
        """``folders``: by the name that they are shown under."""
        self._folders = dict(folders)

    def describe(self) -> tuple[GaugeMetricFamily, ...]:
        return (
            GaugeMetricFamily(FREE, "Space left for this user on the disk of a folder.", labels=("folder",)),
            GaugeMetricFamily(SIZE, "Size of that disk.", labels=("folder",)),
        )

    def collect(self) -> Iterator[Metric]:
        """Of folders that are there."""
        free, size = self.describe()
        for name, folder in self._folders.items():
            with suppress(OSError):
                found = shutil.disk_usage(folder)
                free.add_metric([name], found.free)
                size.add_metric([name], found.total)
        yield from (free, size)
