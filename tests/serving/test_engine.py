"""The thread: what was asked is answered or refused, whatever happens, and it ends when it is told to."""

from concurrent.futures import ThreadPoolExecutor
from threading import Event

import numpy as np
import pytest

from foreact.control.controller import Turn
from foreact.control.protocol import RefusalError
from foreact.errors import InputError
from foreact.policy.controllers import PolicyController
from foreact.serving.computing import BrokenSessionError, Question
from foreact.serving.config import Batching
from foreact.serving.engine import Durations, Engine
from foreact.serving.metrics import Metrics
from foreact.types import ActionChunk

NONE = np.zeros((0, 3), np.float32)
NOTHING = Turn(images={}, executed=NONE, under_way=NONE, prefix=NONE)


@pytest.fixture
def engine():
    made = Engine(Batching(most=4, wait_ms=0.0), Metrics(), most_waiting=3, num_clients=lambda: 9)
    yield made
    made.close()


@pytest.fixture
def question(tiny) -> Question:
    return Question(controller=PolicyController(tiny.policy(), "push", mode="synchronous"), given=NOTHING)


def answers(monkeypatch, compute) -> None:
    monkeypatch.setattr("foreact.serving.engine.compute", compute)


CHUNK = ActionChunk(actions=np.zeros((8, 3), np.float32), stage_ms={"imagine": 2.0}, disagreement=0.3)


def test_calls(engine) -> None:
    assert engine.call(lambda: 7).result(5) == 7

    def bad():
        raise InputError("state", got=1, allowed=2)

    with pytest.raises(RefusalError, match="state") as refused:
        engine.call(bad).result(5)
    assert refused.value.code == "bad_observation"
    with pytest.raises(BrokenSessionError):
        engine.call(lambda: 1 / 0).result(5)
    assert engine.call(lambda: 8).result(5) == 8


def test_what_waits_is_computed_together_and_counted(engine, question, monkeypatch) -> None:
    sizes, go = [], Event()

    def compute(questions):
        sizes.append(len(questions))
        return [CHUNK] * len(questions)

    answers(monkeypatch, compute)
    engine.call(go.wait)
    futures = [engine.ask(question, moves_s=moves_s) for moves_s in (100.0, 1e-9)]
    go.set()
    computed = [future.result(5) for future in futures]
    assert sizes == [2]
    assert computed[0].server_timing.keys() == {"queue_ms", "infer_ms", "batch_size"}
    assert computed[0].batch_size == 2 and computed[0].queue_ms > 0
    metrics = engine._metrics
    assert (metrics.chunks._value.get(), metrics.late_chunks._value.get()) == (2, 1)
    assert "foreact_disagreement_sum 0.6" in metrics.text().decode()


def test_more_than_may_wait_and_what_nobody_waits_for(engine, question, monkeypatch) -> None:
    computed, go = [], Event()
    answers(monkeypatch, lambda questions: [computed.append(1) or CHUNK for _ in questions])
    engine.call(go.wait)
    with ThreadPoolExecutor(1) as pool:
        pool.submit(lambda: None).result()
    futures = []
    with pytest.raises(RefusalError) as refused:
        for _ in range(9):
            futures.append(engine.ask(question))
    assert refused.value.code == "busy"
    for future in futures[1:]:
        future.cancel()
    go.set()
    assert futures[0].result(5).chunk is CHUNK
    engine.call(lambda: None).result(5)
    assert len(computed) == 1


def test_it_lives_on_whatever_fails(engine, question, monkeypatch) -> None:
    answers(monkeypatch, lambda _: 1 / 0)
    with pytest.raises(BrokenSessionError):
        engine.ask(question).result(5)
    answers(monkeypatch, lambda questions: [CHUNK] * len(questions))
    assert engine.ask(question).result(5).chunk is CHUNK


def test_the_end(question, monkeypatch) -> None:
    answers(monkeypatch, lambda questions: [CHUNK] * len(questions))
    engine = Engine(Batching(), Metrics(), most_waiting=3, num_clients=lambda: 1)
    future = engine.ask(question)
    engine.close()
    assert future.result(0).chunk is CHUNK  # what waited was computed
    with pytest.raises(RefusalError) as refused:
        engine.ask(question)
    assert refused.value.code == "shutting_down"


def test_how_long_computing_takes_is_known_from_what_it_took() -> None:
    durations = Durations()
    assert durations.expected_s(4) == durations.expected_s(0) == 0.0
    durations.note(4, 0.4)
    assert durations.expected_s(4) == durations.expected_s(2) == 0.4  # rather too long than too short
    assert durations.expected_s(8) == pytest.approx(0.8)
    durations.note(1, 0.2)
    assert durations.expected_s(2) == 0.4 and durations.expected_s(1) == 0.2
    durations.note(4, 0.8)
    assert durations.expected_s(4) == 0.8
    durations.note(4, 0.4)
    assert 0.4 < durations.expected_s(4) < 0.8
    assert durations.expected_s(0) == 0.0
