"""What several servers counted, as one text."""

from prometheus_client.parser import text_string_to_metric_families

from foreact.serving.metrics import Metrics, merge


def test_every_value_is_under_its_servers_name() -> None:
    servers = {"a": Metrics(), "b": Metrics()}
    servers["a"].count_chunk({"imagine": 0.02e3}, 0.5, late=True)
    servers["b"].count_chunk({"imagine": 0.02e3}, None, late=False)
    servers["b"].sessions.set(3)
    text = merge({name: metrics.text() for name, metrics in servers.items()}).decode()
    stored = {
        (sample.name, *sorted(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }
    assert stored["foreact_chunks_total", ("replica", "a")] == stored["foreact_chunks_total", ("replica", "b")] == 1
    assert stored["foreact_late_chunks_total", ("replica", "a")] == 1
    assert stored["foreact_late_chunks_total", ("replica", "b")] == 0
    assert stored["foreact_sessions", ("replica", "b")] == 3
    for le, count in (("0.01", 0), ("0.03", 1)):
        assert stored["foreact_stage_seconds_bucket", ("le", le), ("replica", "b"), ("stage", "imagine")] == count
    assert text.count("# TYPE foreact_stage_seconds histogram") == 1


def test_nobody_counted_anything() -> None:
    assert merge({}) == b""
