"""The walks of docs/walks.md, really walked: every stop is a file that exists, and is called in the order told."""

import re
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import foreact
from foreact.codecs.text import HashedWordEncoder
from foreact.control.client import Client
from foreact.control.clock import VirtualClock
from foreact.control.drive import drive
from foreact.control.latency import constant
from foreact.control.worker import VirtualWorker
from foreact.data.batch import SequenceSampler
from foreact.data.latents import LatentCache
from foreact.data.sequences import fit_codec, load_sequences
from foreact.policy.controllers import PolicyController, control_config
from foreact.serving.background import serving
from foreact.serving.config import ServerConfig
from foreact.training.corruption import CorruptionConfig
from foreact.training.step import BatchConfig, Learner
from foreact.types import Observation

WALKS = Path(__file__).parents[2] / "docs/walks.md"
PACKAGE = Path(foreact.__file__).parent
STOP = re.compile(r"^(\d+)\. `([^`]+\.py)`", re.MULTILINE)


def written_walks() -> list[list[str]]:
    """The files of each numbered list, in order."""
    walks: list[list[str]] = []
    for number, path in STOP.findall(WALKS.read_text()):
        if number == "1":
            walks.append([])
        walks[-1].append(path)
    return walks


def calls_of(walk: Callable[[], object]) -> list[str]:
    """The package's files in which functions were called, in order, neighbours merged; new threads' too."""
    calls: list[str] = []

    def note(frame, event, _) -> None:
        if event != "call":
            return
        path = Path(frame.f_code.co_filename)
        if path.is_relative_to(PACKAGE):
            name = path.relative_to(PACKAGE).as_posix()
            if not calls or calls[-1] != name:
                calls.append(name)

    threading.setprofile(note)
    sys.setprofile(note)
    try:
        walk()
    finally:
        sys.setprofile(None)
        threading.setprofile(None)
    return calls


def assert_walked(stops: list[str], calls: list[str]) -> None:
    """Every stop is called after the stop before it."""
    place = 0
    for number, stop in enumerate(stops):
        assert stop in calls, f"{stop} is never called"
        assert stop in calls[place:], f"{stop} is not called after {stops[number - 1]}"
        place = calls.index(stop, place) + 1


def test_walks_of_files_that_exist() -> None:
    walks = written_walks()
    assert len(walks) == 3
    for stops in walks:
        assert len(stops) >= 5 and len(set(stops)) == len(stops)
        assert [stop for stop in stops if not (PACKAGE / stop).is_file()] == []


class Standing:
    """A robot whose episode ends during its first chunk: the walk is walked once."""

    def __init__(self, images: dict[str, np.ndarray]):
        self._images, self._left = {camera: clip[0] for camera, clip in images.items()}, 3

    @property
    def done(self) -> bool:
        return self._left == 0

    def observe(self) -> Observation:
        return Observation(images=self._images, state=np.full(3, 0.5, np.float32), time_s=0.0)

    def act(self, action: np.ndarray) -> None:
        self._left -= 1


def test_from_a_camera_frame_to_an_action(tiny) -> None:
    policy, robot = tiny.policy(video_steps=1, action_steps=1), Standing(tiny.images(1))
    clock = VirtualClock()

    def walk() -> None:
        controller = PolicyController(policy, "push it", mode="synchronous")
        drive(robot, controller, control_config(policy), clock=clock, worker=VirtualWorker(clock, constant(0.0)))

    calls = calls_of(walk)
    calls = calls[calls.index("control/drive.py") :]
    stops = written_walks()[0]
    assert calls[0] == stops[0]
    assert_walked(stops, calls)


def test_over_a_wire(tiny) -> None:
    policy, robot = tiny.policy(video_steps=1, action_steps=1), Standing(tiny.images(1))
    clock = VirtualClock()

    def walk() -> None:
        config = ServerConfig(port=0)
        with serving(policy, config) as server, Client(server.address, "push it", mode="synchronous") as client:
            drive(
                robot,
                client,
                client.facts.control_config(unlimited=True),
                clock=clock,
                worker=VirtualWorker(clock, constant(0.0)),
            )

    calls = calls_of(walk)
    calls = calls[calls.index("control/dialogue.py") :]
    assert_walked(written_walks()[2], calls)


def test_from_an_episode_to_a_loss(tiny, tmp_path) -> None:
    embodiment, dataset, vae = tiny.embodiment(), tiny.dataset(tmp_path / "d", lengths=(17,)), tiny.vae()
    cache, codec, model = LatentCache(dataset, vae, embodiment), fit_codec([dataset], embodiment), tiny.model()
    list(cache.encode_missing())

    def walk() -> None:
        sequences = load_sequences(dataset, cache, codec)
        learner = Learner(
            model,
            SequenceSampler([sequences], max_frames=6, seed=0),
            HashedWordEncoder(dim=8),
            batch=BatchConfig(global_batch=1, micro_batch=1, max_frames=6, max_chunk=2, window=(2, 4)),
            corruption=CorruptionConfig(),
            seed=0,
        )
        learner.accumulate_gradients(0)

    calls = calls_of(walk)
    stops = written_walks()[1]
    assert calls[0] == stops[0]
    assert_walked(stops, calls)


def test_a_wrong_walk_is_noticed() -> None:
    calls = ["a.py", "b.py", "c.py", "b.py"]
    assert_walked(["a.py", "c.py", "b.py"], calls)
    for stops in (["c.py", "a.py"], ["a.py", "d.py"]):
        with pytest.raises(AssertionError):
            assert_walked(stops, calls)
