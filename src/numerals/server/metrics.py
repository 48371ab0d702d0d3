"""Prometheus metrics behind GET /metrics: requests, latencies, queue length, rejections; summed over all processes."""

import os
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector

MULTIPROCESS_VARIABLE = "PROMETHEUS_MULTIPROC_DIR"  # names the folder through which processes share their metrics
KNOWN_METHODS = {"GET", "HEAD", "POST", "DELETE", "OPTIONS", "PUT", "PATCH"}  # others share a label: no label per typo
LATENCY_BUCKETS = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10)  # seconds


class ServerMetrics:
    """Metrics of one application, in a registry of its own."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        in_registry: dict[str, Any] = {"registry": self._registry}
        self._requests = Counter("numerals_requests", "Requests answered.", ["method", "path", "status"], **in_registry)
        self._seconds = Histogram(
            "numerals_seconds", "Seconds from request to response.", ["path"], buckets=LATENCY_BUCKETS, **in_registry
        )
        self._queue = Gauge(
            "numerals_queue", "Requests waiting or in progress.", multiprocess_mode="livesum", **in_registry
        )
        self._rejected = Counter("numerals_rejected", "Requests rejected, by reason.", ["why"], **in_registry)

    def count_response(self, method: str, path: str, status: int, seconds: float) -> None:
        self._requests.labels(method if method in KNOWN_METHODS else "other", path, str(status)).inc()
        self._seconds.labels(path).observe(seconds)

    def count_rejection(self, reason: str) -> None:
        self._rejected.labels(reason).inc()

    def set_queue_length(self, length: int) -> None:
        self._queue.set(length)

    def exposition(self) -> bytes:
        """Return the metrics in Prometheus's text format."""
        if MULTIPROCESS_VARIABLE not in os.environ:
            return generate_latest(self._registry)
        registry = CollectorRegistry()
        MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
        return generate_latest(registry)
