"""`foreact serve`: as a process of its own, from its first line to its end; and what it refuses."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Thread

import numpy as np
import pytest

from foreact.commands.main import main
from foreact.control.client import Client
from foreact.control.controller import Turn
from foreact.control.link import Patience
from foreact.types import Observation


@contextmanager
def running(*arguments: str) -> Iterator[tuple[subprocess.Popen, str]]:
    """A server process, and what it said when it was ready."""
    command = [sys.executable, "-m", "foreact", "serve", "--threads", "1", *arguments]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=os.environ | {"PYTHONUNBUFFERED": "1"})
    try:
        assert server.stdout is not None
        said = ""
        while "Health:" not in said:
            line = server.stdout.readline()
            assert line, said
            said += line
        yield server, said
    finally:
        server.kill()
        server.wait()


def observation(client: Client) -> Observation:
    images = {camera: np.zeros((*size, 3), np.uint8) for camera, size in client.facts.cameras.items()}
    return Observation(images=images, state=np.zeros(len(client.facts.state_names), np.float32), time_s=0.0)


def test_from_its_first_line_to_its_end(tmp_path: Path) -> None:
    """A robot is served under a token; SIGTERM ends it in good order."""
    token, log = "a secret that is long enough", tmp_path / "log.jsonl"
    (tmp_path / "token").write_text(token + "\n")
    files = ("--token-file", str(tmp_path / "token"), "--log-file", str(log))
    with running("--port", "0", *files) as (server, said):
        found = re.search(r'Client\("([^"]*)", "what to do", mode="grounded", token=...\)', said)
        assert found and "tiny" in said
        with Client(found[1], "Reach for the white cube with the right arm.", token=token) as client:
            chunk = client.begin(observation(client))
        assert chunk.actions.shape[1] == len(client.facts.action_names)
        server.send_signal(signal.SIGTERM)
        assert server.wait(30) == 0
    events = log.read_text()
    assert '"event": "session started"' in events and '"event": "closed"' in events and token not in events


@pytest.mark.slow
def test_killed_and_started_anew_its_robots_go_on_within_two_seconds(tmp_path: Path) -> None:
    logs = ("--log-file", str(tmp_path / "log.jsonl"))
    with running("--port", "0", *logs) as (server, said):
        found = re.search(r'Client\("([^"]*)"', said)
        assert found
        client = Client(found[1], "push", mode="synchronous", patience=Patience(give_up_s=60.0))
        first = client.begin(observation(client))
        server.kill()
    none = first.actions[:0]
    clips = {camera: np.zeros((0, *size, 3), np.uint8) for camera, size in client.facts.cameras.items()}
    answered: list[float] = []

    def go_on() -> None:
        chunk = client.proceed(Turn(images=clips, executed=none, under_way=none, prefix=none))
        assert len(chunk.actions)
        answered.append(time.monotonic())

    thread = Thread(target=go_on)
    thread.start()
    time.sleep(1.0)
    with running("--port", found[1].rsplit(":", 1)[1], *logs):
        ready_s = time.monotonic()
        thread.join(30)
        assert answered and answered[0] - ready_s < 2.0
        client.close()


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (("--host", "0.0.0.0"), "could drive your robots"),
        (("--token-file", "none.txt"), "token file none.txt"),
        (("--cert", "cert.pem"), "both, or neither"),
        (("--cert", "none.pem", "--key", "none.pem"), "PEM files"),
        (("--log-file", "none/log"), "log file none/log"),
        (("--policy", "huge"), "'huge'"),
        (("--schedule", "hasty"), "hasty"),
        (("--max-sessions", "0"), "Limits.sessions"),
        (("--max-batch", "0"), "Batching.most"),
    ],
)
def test_what_cannot_be_is_refused(arguments: tuple[str, ...], complaint: str, tmp_path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as stopped:
        main(["serve", "--port", "0", *arguments])
    assert stopped.value.code == 2
    assert complaint in " ".join(capsys.readouterr().err.split())
