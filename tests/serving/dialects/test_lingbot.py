"""The released clients' loop, by our own double of it: what they are told is what `Policy` says, to the last bit."""

import numpy as np
import pytest
from websockets.sync.client import connect

from foreact.control.packing import pack, unpack
from foreact.embodiments import load_embodiment
from foreact.serving.dialects.dialect import first_state

PREFIX = "observation.images."


class ReleasedClient:
    """Sends and reads as the release's WebsocketClientPolicy does; a text is a refusal."""

    def __init__(self, address: str):
        self.socket = connect(address, compression=None, max_size=None)
        self.metadata = unpack(self.socket.recv(timeout=10))

    def infer(self, message: dict) -> dict:
        self.socket.send(pack(message))
        reply = self.socket.recv(timeout=30)
        if isinstance(reply, str):
            raise RuntimeError(reply)
        return unpack(reply)


class World:
    """Pictures that follow the actions; the state is what some policies have to know."""

    def __init__(self, seed: int):
        self.rng, self.actions, self.num_pictures = np.random.default_rng(seed), [], 0

    def observe(self) -> dict:
        self.num_pictures += 1
        shade = int(90 + 40 * np.tanh(sum(action.sum() for action in self.actions)))
        pictures = {
            PREFIX + camera: np.full((16, 8, 3), shade // n, np.uint8) for n, camera in enumerate(("top", "wrist"), 1)
        }
        return pictures | {"observation.state": np.array([0.1, -0.2, 0.5], np.float32)}


def run_episode(client, seed: int, num_chunks: int, *, per_picture: int = 2) -> tuple[World, list[np.ndarray]]:
    """One episode as evaluation/libero/client.py runs it."""
    world, answered = World(seed), []
    assert client.infer(dict(reset=True, prompt="push it")) == {}
    first_obs, first = world.observe(), True
    for _ in range(num_chunks):
        action = client.infer(dict(obs=first_obs, prompt="push it"))["action"]
        answered.append(action)
        key_frames = []
        for frame in range(1 if first else 0, action.shape[1]):
            for step in range(action.shape[2]):
                world.actions.append(action[:, frame, step])
                if (step + 1) % per_picture == 0:
                    key_frames.append(world.observe())
        first = False
        assert client.infer(dict(obs=key_frames, compute_kv_cache=True, imagine=False, state=action)) == {}
    return world, answered


def expected(policy, seed: int, num_chunks: int, noise_seed: int) -> list[np.ndarray]:
    """What the policy itself says in the same world."""
    world, chunks = World(seed), []
    session = policy.start("push it", seed=noise_seed)
    seen = world.observe()
    cameras = policy.embodiment.cameras
    policy.observe_first(session, {c: seen[PREFIX + c][None] for c in cameras}, seen["observation.state"])
    for _ in range(num_chunks):
        actions = policy.predict(session).actions
        chunks.append(actions)
        frames = []
        for number, action in enumerate(actions, 1):
            world.actions.append(action)
            if number % policy.embodiment.timing.camera_stride == 0:
                frames.append(world.observe())
        policy.observe(session, {c: np.stack([f[PREFIX + c] for f in frames]) for c in cameras}, actions)
    return chunks


def test_two_episodes_are_what_the_policy_says(tiny, house, one_thread) -> None:
    policy = tiny.policy()
    client = ReleasedClient(house.server(policy, dialect="lingbot").address)
    assert client.metadata == {"robot": policy.embodiment.name, "cameras": ["top", "wrist"]}
    for episode in range(2):
        world, answered = run_episode(client, seed=episode, num_chunks=3)
        own = expected(tiny.policy(), seed=episode, num_chunks=3, noise_seed=episode)
        for number, (action, chunk) in enumerate(zip(answered, own, strict=True)):
            said = action.transpose(1, 2, 0)
            if number == 0:
                assert not said[0].any()
                said = said[1:]
            assert np.array_equal(said.reshape(-1, 3), chunk), "equal to the last bit"
        assert world.num_pictures == 1 + 3 * 8 // 2


@pytest.mark.parametrize(
    ("message", "why"),
    [
        ({"obs": {}, "prompt": "push it"}, "got: an observation; allowed: reset, first"),
        ({"reset": True, "prompt": 3}, "prompt"),
        ("text", "got: text; allowed: msgpack"),
        (b"\xc1", "cannot be read"),
        (pack([1]), "allowed: a map"),
    ],
)
def test_what_makes_no_sense_is_refused_in_words(tiny, house, message, why: str) -> None:
    client = ReleasedClient(house.server(tiny.policy(), dialect="lingbot").address)
    client.socket.send(pack(message) if isinstance(message, dict) else message)
    reply = client.socket.recv(timeout=10)
    assert isinstance(reply, str) and why in reply


def test_wrong_observations_are_named_and_the_connection_lives_on(tiny, house) -> None:
    client = ReleasedClient(house.server(tiny.policy(), dialect="lingbot").address)
    client.infer(dict(reset=True, prompt="push it"))
    seen = World(0).observe()
    for obs, why in [
        (3, "allowed: pictures by camera"),
        ({PREFIX + "top": seen[PREFIX + "top"]}, f"obs lacks {PREFIX}wrist"),
        (seen | {PREFIX + "top": np.zeros((4, 4), np.uint8)}, "allowed: uint8"),
        ({name: value for name, value in seen.items() if name.startswith(PREFIX)}, "state of the robot; got: none"),
    ]:
        with pytest.raises(RuntimeError, match=why):
            client.infer(dict(obs=obs, prompt="push it"))
    with pytest.raises(RuntimeError, match="no observation yet"):
        client.infer(dict(obs=[seen] * 4, compute_kv_cache=True, state=np.zeros((3, 2, 4), np.float32)))
    action = client.infer(dict(obs=[seen], prompt="push it"))["action"]
    for changes, why in [
        ({"obs": []}, "a list of observations"),
        ({"state": action[:2]}, "as they were answered"),
        ({"obs": [seen]}, "camera frames for 8 actions"),
    ]:
        with pytest.raises(RuntimeError, match=why):
            client.infer(dict(obs=[seen] * 4, compute_kv_cache=True, state=action) | changes)
    assert client.infer(dict(obs=[seen] * 4, compute_kv_cache=True, state=action)) == {}


def test_relative_robots_begin_at_the_origin_and_raw_ones_without_a_state() -> None:
    origin = first_state(load_embodiment("robotwin_aloha"), None)
    assert origin.tolist() == [0, 0, 0, 0, 0, 0, 1, 0] * 2
    assert not first_state(load_embodiment("libero_published"), None).any()
