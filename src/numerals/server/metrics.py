"""Counters for Prometheus: requests, latencies, the queue, what was refused. Of all processes of a server."""

import os
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector

SHARED = "PROMETHEUS_MULTIPROC_DIR"  # names the folder in which several processes keep their counters
METHODS = {"GET", "HEAD", "POST", "DELETE", "OPTIONS", "PUT", "PATCH"}
SECONDS = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10)


class Metrics:
    """The counters of one application; their names are those of /metrics."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        given: dict[str, Any] = {"registry": self._registry}
        self._requests = Counter("numerals_requests", "Requests answered.", ["method", "path", "status"], **given)
        self._seconds = Histogram("numerals_seconds", "Seconds to an answer.", ["path"], buckets=SECONDS, **given)
        self._queue = Gauge(
            "numerals_queue", "Requests that wait or are worked on.", multiprocess_mode="livesum", **given
        )
        self._rejected = Counter("numerals_rejected", "Requests refused, by why.", ["why"], **given)

    def answered(self, method: str, path: str, status: int, seconds: float) -> None:
        self._requests.labels(method if method in METHODS else "other", path, str(status)).inc()
        self._seconds.labels(path).observe(seconds)

    def rejected(self, why: str) -> None:
        self._rejected.labels(why).inc()

    def queue(self, length: int) -> None:
        self._queue.set(length)

    def text(self) -> bytes:
        """What Prometheus asks for."""
        if SHARED not in os.environ:
            return generate_latest(self._registry)
        registry = CollectorRegistry()
        MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
        return generate_latest(registry)
