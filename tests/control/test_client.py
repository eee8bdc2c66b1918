"""What the client needs, which is little; what it makes of answers that are none. The rest is tested with a server."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Thread

import numpy as np
import pytest
from websockets.sync.server import serve

from foreact.control.client import Client, ServerError
from foreact.control.link import Patience
from foreact.control.packing import pack, unpack
from foreact.control.protocol import VERSION, Chunk, Error, Facts, RefusalError, Started, Stopped, encode
from foreact.types import Observation

ALONE = """
import sys

class OnlyThese:
    def find_spec(self, name, path=None, target=None):
        root = name.partition(".")[0]
        if root not in sys.stdlib_module_names and root not in ("foreact", "numpy", "msgpack", "websockets"):
            raise ModuleNotFoundError(f"the robot's side reached for {name}", name=name)

sys.meta_path.insert(0, OnlyThese())
from foreact.control.client import Client
from foreact.control.drive import drive
from foreact.control.worker import ThreadWorker
print("alone")
"""


def test_numpy_msgpack_and_websockets_are_all_it_needs() -> None:
    done = subprocess.run([sys.executable, "-c", ALONE], capture_output=True, text=True, timeout=60)
    assert done.stdout == "alone\n", done.stderr


FACTS = Facts(
    version=VERSION,
    policy="scripted",
    digest="0",
    embodiment="toy",
    action_names=["a"],
    action_units=[""],
    motion_limits={},
    unlimited_actions=[],
    state_names=["a"],
    state_is_action=True,
    cameras={"top": [2, 2]},
    action_hz=50.0,
    camera_stride=2,
    actions_per_latent_frame=4,
    latent_frames_per_chunk=2,
    modes=["synchronous"],
    limits={},
)
STARTED = Started(session="s", token="t", sequence=0, waits=True, inpaints=False)
QUICK = Patience(connect_s=2.0, answer_s=0.5, give_up_s=2.0, first_retry_s=0.01, longest_retry_s=0.05)
SEEN = Observation(images={"top": np.zeros((2, 2, 3), np.uint8)}, state=np.zeros(1, np.float32), time_s=0.0)


def chunk(sequence: int) -> Chunk:
    return Chunk(
        session="s",
        sequence=sequence,
        actions=np.full((8, 1), sequence, np.float32),
        disagreement=None,
        imagined_latents=None,
        foreseen_latents=None,
        stage_ms={},
        server_timing={},
    )


@contextmanager
def scripted(*answers) -> Iterator[tuple[str, list[dict]]]:
    """A server that gives these answers to what is neither start nor stop; None: it hangs up instead."""
    heard, left = [], list(answers)

    def converse(socket) -> None:
        socket.send(encode(FACTS))
        for data in socket:
            message = unpack(data)
            heard.append(message)
            if message["type"] == "start":
                socket.send(encode(STARTED))
            elif message["type"] == "stop":
                socket.send(encode(Stopped(session="s")))
            elif (answer := left.pop(0)) is None:
                return
            else:
                socket.send(answer if isinstance(answer, str) else encode(answer))

    with serve(converse, "127.0.0.1", 0, compression=None) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"127.0.0.1:{server.socket.getsockname()[1]}", heard
        finally:
            server.shutdown()
            thread.join()


@pytest.mark.parametrize("code", ["busy", "shutting_down", "stale"])
def test_what_passes_with_time_is_asked_again_under_its_number(code: str) -> None:
    with (
        scripted(Error(code=code, message=""), None, chunk(1)) as (address, heard),
        Client(address, "push", patience=QUICK) as client,
    ):
        assert client.begin(SEEN).actions[0, 0] == 1
    begins = [each for each in heard if each["type"] == "begin"]
    assert [each["sequence"] for each in begins] == [1, 1, 1]
    stamps = [each["sent_s"] for each in begins]
    assert stamps == sorted(set(stamps))  # the time stamp is that of sending it again
    starts = [each for each in heard if each["type"] == "start"]
    assert [each["token"] for each in starts] == [None, "t"]  # after the hang-up, the session is taken up


@pytest.mark.parametrize("code", ["unknown_session", "not_your_session", "out_of_order", "replayed", "internal"])
def test_what_ends_a_session_begins_another(code: str) -> None:
    with (
        scripted(Error(code=code, message=""), chunk(1)) as (address, heard),
        Client(address, "push", patience=QUICK) as client,
    ):
        assert client.begin(SEEN).actions[0, 0] == 1
    assert [each["token"] for each in heard if each["type"] == "start"] == [None, None]


@pytest.mark.parametrize("code", ["bad_message", "bad_observation", "too_large", "unauthorized"])
def test_what_is_our_own_fault_is_raised(code: str) -> None:
    with (
        scripted(Error(code=code, message="because")) as (address, _),
        Client(address, "push", patience=QUICK) as client,
    ):
        with pytest.raises(RefusalError, match="because") as refused:
            client.begin(SEEN)
        assert refused.value.code == code


@pytest.mark.parametrize("answer", [chunk(7), Stopped(session="s"), "Traceback ..."])
def test_an_answer_to_something_else_is_refused(answer) -> None:
    refused = pytest.raises(RefusalError, match="answer of the server")
    with scripted(answer) as (address, _), Client(address, "push", patience=QUICK) as client, refused:
        client.begin(SEEN)


def test_some_other_server_is_refused() -> None:
    def converse(socket) -> None:
        socket.send(pack({"hello": "world"}))

    with serve(converse, "127.0.0.1", 0) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        with pytest.raises(RefusalError, match="foreact's facts"):
            Client(f"127.0.0.1:{server.socket.getsockname()[1]}", "push", patience=QUICK)
        server.shutdown()
        thread.join()


def test_a_server_that_says_nothing_is_given_up() -> None:
    with serve(lambda socket: socket.recv(), "127.0.0.1", 0) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        quick = Patience(connect_s=0.1, answer_s=0.1, give_up_s=0.2, first_retry_s=0.01)
        with pytest.raises(ServerError):
            Client(f"127.0.0.1:{server.socket.getsockname()[1]}", "push", patience=quick)
        server.shutdown()
        thread.join()
