"""What the server counts, as Prometheus reads it."""

from collections.abc import Iterable, Mapping

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Metric, generate_latest
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector

_SECONDS = (0.001, 0.003, 0.01, 0.03, 0.06, 0.1, 0.16, 0.25, 0.4, 0.64, 1.0, 1.6, 2.5, 5.0, 10.0)
_BATCHES = (1, 2, 4, 8, 16, 32, 64)
_DISAGREEMENTS = (0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 1.0, 1.5, 2.0)


class Metrics:
    """One server's, in a registry of its own: several servers may run in one process."""

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        self.stage_s = Histogram(
            "foreact_stage_seconds", "Computing, per stage", ["stage"], registry=registry, buckets=_SECONDS
        )
        self.queue_s = Histogram("foreact_queue_seconds", "Waiting to be computed", registry=registry, buckets=_SECONDS)
        self.infer_s = Histogram("foreact_infer_seconds", "Computing a batch", registry=registry, buckets=_SECONDS)
        self.batch_size = Histogram("foreact_batch_size", "Requests of a batch", registry=registry, buckets=_BATCHES)
        self.disagreement = Histogram(
            "foreact_disagreement", "What was seen, from imagined", registry=registry, buckets=_DISAGREEMENTS
        )
        self.queue = Gauge("foreact_queue_length", "Requests that wait", registry=registry)
        self.sessions = Gauge("foreact_sessions", "Sessions", registry=registry)
        self.connections = Gauge("foreact_connections", "Connections", registry=registry)
        self.chunks = Counter("foreact_chunks", "Chunks computed", registry=registry)
        self.late_chunks = Counter("foreact_late_chunks", "Chunks after what was under way ended", registry=registry)
        self.repeated = Counter("foreact_repeated", "Answers given once more", registry=registry)
        self.dropped = Counter("foreact_dropped", "Connections closed by us, by reason", ["reason"], registry=registry)
        self.errors = Counter("foreact_errors", "Refusals, by code", ["code"], registry=registry)

    def count_chunk(self, stage_ms: Mapping[str, float], disagreement: float | None, *, late: bool) -> None:
        """Take in one chunk."""
        self.chunks.inc()
        self.late_chunks.inc(late)
        for stage, spent_ms in stage_ms.items():
            self.stage_s.labels(stage).observe(spent_ms / 1e3)
        if disagreement is not None:
            self.disagreement.observe(disagreement)

    def text(self) -> bytes:
        """Return all of them in Prometheus' text format."""
        return generate_latest(self.registry)


def merge(texts: Mapping[str, bytes]) -> bytes:
    """Return several servers' metrics as one text, every value under its server's name: the label `replica`."""
    merged: dict[str, Metric] = {}
    for replica, text in texts.items():
        for family in text_string_to_metric_families(text.decode()):
            metric = merged.setdefault(family.name, Metric(family.name, family.documentation, family.type))
            for sample in family.samples:
                metric.add_sample(sample.name, {**sample.labels, "replica": replica}, sample.value)
    return generate_latest(_Told(merged.values()))  # type: ignore[arg-type]


class _Told(Collector):
    """Metrics as they were read."""

    def __init__(self, metrics: Iterable[Metric]):
        self._metrics = metrics

    def collect(self) -> Iterable[Metric]:
        return self._metrics
