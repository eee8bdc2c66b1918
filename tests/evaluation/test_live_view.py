import os
import re
import sys
from collections import Counter
from itertools import pairwise

import numpy as np
import pytest

from foreact.control.latency import constant
from foreact.errors import ConfigurationError, install_command
from foreact.evaluation.episodes import EpisodeRecord, evaluate_episode
from foreact.evaluation.live_view import PAUSE_S, EpisodeSender, LiveView, arm_entries, open_view


@pytest.fixture(scope="module")
def policy(tiny):
    return tiny.policy(forward_dynamics=True, action_prefixes=True, disagreement_threshold=0.9)


def test_a_place_that_is_none_is_refused(policy, tmp_path) -> None:
    with pytest.raises(
        ConfigurationError, match=r"got: film.mp4; allowed: live, a file that ends in .rrd, rerun\+http"
    ):
        open_view("film.mp4", policy).__enter__()


def test_without_rerun_the_cure_is_named(policy, monkeypatch, tmp_path) -> None:
    monkeypatch.setitem(sys.modules, "rerun", None)
    with pytest.raises(ConfigurationError, match=re.escape(install_command("view"))):
        open_view(str(tmp_path / "x.rrd"), policy).__enter__()
    assert list(tmp_path.iterdir()) == []


def test_a_viewer_needs_a_display(policy, monkeypatch) -> None:
    pytest.importorskip("rerun")
    for name in ("DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(sys, "platform", "linux")
    with pytest.raises(ConfigurationError, match=r"got: live, without a display; record it instead: --view demo.rrd"):
        open_view("live", policy).__enter__()


@pytest.mark.parametrize("where", ["live", "rerun+http://robot:9876/proxy"])
def test_a_viewer_that_is_not_there_is_told(policy, monkeypatch, where) -> None:
    rerun = pytest.importorskip("rerun")

    def fail(*args, **settings) -> None:
        raise RuntimeError("unable to connect")

    monkeypatch.setenv("DISPLAY", ":0")
    path = os.environ["PATH"]
    for name in ("spawn", "connect_grpc"):
        monkeypatch.setattr(rerun.RecordingStream, name, fail)
    with pytest.raises(ConfigurationError, match=f"no viewer at {re.escape(where)}"):
        open_view(where, policy).__enter__()
    assert os.environ["PATH"] == path


def test_the_gripper_comes_last_among_an_arms_numbers(tiny) -> None:
    assert arm_entries(tiny.embodiment()) == {"left": [0, 1, 2]}


class Stream:
    """Stands for Rerun's: keeps what was logged, and when."""

    def __init__(self) -> None:
        self.step = -1
        self.logged: list[tuple[str, int, object]] = []

    def set_time(self, timeline, *, sequence=None, duration=None) -> None:
        self.step = self.step if sequence is None else sequence

    def log(self, path, value, *, static=False) -> None:
        self.logged.append((path, -1 if static else self.step, value))

    def at(self, path) -> list[int]:
        return [step for place, step, _ in self.logged if place == path]


def test_everything_is_sent_once_however_often_one_looks(policy, toy_env) -> None:
    pytest.importorskip("rerun")
    _, record = evaluate_episode(policy, toy_env(), 5, mode="grounded", latencies_s=constant(6 / 50))
    stream = Stream()
    view = LiveView(stream, policy, live=True)
    with view.watch(record, "first"):
        pass
    once = Counter(path for path, _, _ in stream.logged)
    assert once["cameras/top/seen"] == once["cameras/wrist/seen"] == len(record.pictures)
    assert once["actions/left/executed"] == 1 + len(record.commands) == 1 + once["robot/stands_still"]
    with view.watch(record, "second"):
        pass
    starts = [
        step
        for path, step, value in stream.logged
        if path == "events" and value.text.as_arrow_array()[0].as_py() in ("first", "second")
    ]
    assert starts == [0, len(record.commands) + round(50 * PAUSE_S)]


def test_a_record_that_grows_is_sent_as_it_grows(policy, toy_env) -> None:
    """Sent in two parts or in one: the same."""
    pytest.importorskip("rerun")
    _, record = evaluate_episode(policy, toy_env(), 5, mode="grounded", latencies_s=constant(6 / 50))
    whole, parts = Stream(), Stream()
    EpisodeSender(whole, policy, record, "t", first_step=0).send_new()
    growing = EpisodeRecord(timing=record.timing)
    sender = EpisodeSender(parts, policy, growing, "t", first_step=0)
    for share in (2, 1):
        for name in ("pictures", "picture_steps", "commands"):
            kept, all_of_it = getattr(growing, name), getattr(record, name)
            kept.extend(all_of_it[len(kept) : len(all_of_it) // share])
        if share == 1:
            growing.seen.extend(record.seen)
            growing.answers.extend(record.answers)
        sender.send_new()
    for path in {path for path, _, _ in whole.logged}:
        assert whole.at(path) == parts.at(path), path


def test_imagined_frames_stand_where_the_real_ones_do(policy, toy_env) -> None:
    pytest.importorskip("rerun")
    _, record = evaluate_episode(policy, toy_env(), 5, mode="grounded", latencies_s=constant(6 / 50))
    stream = Stream()
    EpisodeSender(stream, policy, record, "t", first_step=0).send_new()
    imagined, seen = stream.at("cameras/top/imagined"), stream.at("cameras/top/seen")
    first_chunk = imagined[:4]  # two latent frames of two camera frames
    assert first_chunk == seen[1:5] == record.picture_steps[1:5]
    predicted = stream.at("actions/left/predicted")[:8]
    assert predicted == list(range(predicted[0], predicted[0] + 8)) and predicted[0] == record.picture_steps[1] - 2


def test_a_command_that_comes_again_is_standing_still(policy) -> None:
    pytest.importorskip("rerun")
    record = EpisodeRecord(timing=policy.embodiment.timing)
    record.commands.extend(np.float32([[0, 0, 0], [0, 0, 0], [1, 0, 0], [1, 0, 0], [0, 0, 0]]))
    stream = Stream()
    EpisodeSender(stream, policy, record, "t", first_step=10).send_new()
    stands = [
        (step, float(value.scalars.as_arrow_array()[0].as_py()))
        for path, step, value in stream.logged
        if path == "robot/stands_still"
    ]
    assert stands == [(10, 0), (11, 1), (12, 0), (13, 1), (14, 0)]


def test_a_recording_can_be_read_back(policy, toy_env, tmp_path) -> None:
    pytest.importorskip("rerun")
    chunks = pytest.importorskip("rerun.chunk")
    path = tmp_path / "new" / "toy.rrd"
    stored = []
    with open_view(str(path), policy) as view:
        for mode in ("grounded", "synchronous"):
            _, record = evaluate_episode(policy, toy_env(), 5, mode=mode, latencies_s=constant(2 / 50))
            with view.watch(record, mode):
                stored.append(record)
        assert not path.exists()
    reader = chunks.RrdReader(path)
    rows, times = Counter(), []
    for chunk in reader.stream():
        if not chunk.is_static:
            rows[chunk.entity_path] += chunk.num_rows
        if chunk.entity_path == "/robot/stands_still":
            assert {"control_step", "time"} <= set(chunk.timeline_names)
            times += chunk.to_record_batch().column("control_step").to_pylist()
    assert rows["/robot/stands_still"] == rows["/actions/left/executed"] == sum(len(r.commands) for r in stored)
    assert rows["/cameras/top/seen"] == rows["/cameras/wrist/seen"] == sum(len(r.pictures) for r in stored)
    assert rows["/cameras/top/imagined"] == rows["/cameras/wrist/imagined"] == 4 * sum(len(r.chunks) for r in stored)
    assert rows["/actions/left/predicted"] == 8 * sum(len(r.chunks) for r in stored)
    assert rows["/chunk/delay_ms"] == sum(len(r.answers) for r in stored)
    assert rows["/chunk/stage_ms/imagine"] == sum(len(r.chunks) for r in stored)
    assert rows["/disagreement/threshold"] == rows["/chunk/delay_ms"] > rows["/disagreement/measured"] > 0
    assert rows["/events"] == 2 + rows["/chunk/delay_ms"]
    assert sorted(times) == times and max(after - before for before, after in pairwise(times)) == 1 + 50 * PAUSE_S
    assert len(reader.blueprints()) == 1
