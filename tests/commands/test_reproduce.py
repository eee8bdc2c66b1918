"""`foreact reproduce`, as a user types it."""

import json
import socket
import time
from dataclasses import replace
from pathlib import Path
from threading import Thread

import numpy as np
import pytest
from websockets.sync.client import connect

from foreact.commands.main import main
from foreact.evaluation.reproductions import REPRODUCTIONS
from foreact.serving.dialects.numpy_maps import pack, unpack

GOLDEN = Path(__file__).parents[1] / "golden"


def run(*words: object) -> None:
    main(["reproduce", *map(str, words)])


def refused(capsys, *words: object) -> str:
    with pytest.raises(SystemExit) as ended:
        run(*words)
    assert ended.value.code == 2
    return " ".join(capsys.readouterr().err.split())


def test_without_a_name_it_lists_what_can_be_reproduced(capsys) -> None:
    run()
    said = capsys.readouterr().out
    assert all(name in said for name in REPRODUCTIONS) and "98.5%" in said


def test_mistakes_are_refused_before_anything_is_loaded(tmp_path, capsys) -> None:
    assert "did you mean 'aloha'" in refused(capsys, "alhoa", "--out", tmp_path / "o")
    assert "--episodes; got: 0; allowed: 1 or more" in refused(capsys, "aloha", "--episodes", 0)
    assert "task of reproduction 'aloha'; got: fly" in refused(capsys, "aloha", "--tasks", "fly")
    assert not (tmp_path / "o").exists()


@pytest.mark.sim
def test_one_episode_of_one_task(tmp_path, capsys, one_thread) -> None:
    run("aloha", "--tasks", "reach_cube", "--episodes", 1, "--out", tmp_path)
    report = json.loads((tmp_path / "report.json").read_text())
    assert (report["policy"], report["overall"]["episodes"], report["is_whole"]) == ("tiny", 1, False)
    assert "Only a part" in (tmp_path / "report.md").read_text()
    assert "aloha/reach_cube" in capsys.readouterr().out


class SimulatorClient(Thread):
    """A simulator that asks a policy server, as RoboTwin does: each of its trials is one answer long."""

    def __init__(self, port: int, trials: list[tuple[str, int, bool]]):
        super().__init__(daemon=True)
        self._port, self._trials, self.num_actions = port, trials, []

    def run(self) -> None:
        link = self._connect()

        def ask(kind: str, **payload) -> dict:
            link.send(pack({"message_type": kind, "message_id": kind, "payload": payload}))
            answer = unpack(link.recv(timeout=60))
            assert answer["message_type"] != "error", answer
            return answer["payload"]

        ask("hello")
        for task, seed, success in self._trials:
            ask("prepare_case", task_name=task, seed=seed, instruction="push it", action_type="ee")
            ask("reset")
            self.num_actions.append(len(ask("infer", observation=self._observation())["actions"]))
            ask("trial_end", success=success)
        link.close()

    def _connect(self):
        for _ in range(300):
            try:
                return connect(f"ws://127.0.0.1:{self._port}", compression=None, max_size=None)
            except OSError:
                time.sleep(0.1)
        raise TimeoutError("no server")

    @staticmethod
    def _observation() -> dict:
        cameras = ("cam_head", "cam_left_wrist", "cam_right_wrist")
        state = {}
        for side in ("left", "right"):
            state[f"{side}_ee_pose"] = np.array([0, 0, 0, 0, 0, 0, 1], np.float32)
            state[f"{side}_ee_joint_state"] = np.ones(1, np.float32)
        vision = {camera: {"color": np.full((240, 320, 3), 90, np.uint8)} for camera in cameras}
        return {"vision": vision, "state": state}


def test_simulator_as_a_client_is_served_until_all_its_episodes_are_run(tmp_path, monkeypatch, one_thread) -> None:
    """RoboTwin's entry on a network of a few thousand weights in the layout of the published ones."""
    monkeypatch.setitem(REPRODUCTIONS, "robotwin", replace(REPRODUCTIONS["robotwin"], num_tasks=2))
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    trials = [("lift_pot", 100000, True), ("stack_bowls", 100000, False)]
    client = SimulatorClient(port, trials)
    client.start()
    words = ("--policy", GOLDEN / "t_shape", "--episodes", 1, "--port", port, "--out", tmp_path)
    run("robotwin", *words)
    client.join()
    assert client.num_actions == [4, 4], "one picture for four actions"
    report = json.loads((tmp_path / "report.json").read_text())
    assert {row["task"]: row["successes"] for row in report["tasks"]} == {"lift_pot": 1, "stack_bowls": 0}
    assert (report["overall"]["published"], report["overall"]["episodes"]) == (0.929, 2)
    assert len((tmp_path / "trials.jsonl").read_text().splitlines()) == 2
    run("robotwin", *words)  # nothing is left to do
