"""vla-eval's own command runs an evaluation of foreact's worlds under a policy of foreact."""

import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytest.importorskip("vla_eval", reason="vla-eval is not installed here: see the plugin's README")

ROOT = Path(__file__).parents[1]


def test_an_evaluation_from_end_to_end(tmp_path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    paths = [str(ROOT / "src"), str(ROOT.parents[1] / "src"), os.environ.get("PYTHONPATH", "")]
    env = os.environ | {"PYTHONPATH": os.pathsep.join(paths), "OMP_NUM_THREADS": "1"}
    config = tmp_path / "reach.yaml"
    text = (ROOT / "reach_cube.yaml").read_text()
    config.write_text(text.replace("8000", str(port)).replace("outputs/vla_eval", str(tmp_path / "out")))
    serve = [sys.executable, "-m", "foreact_vla_eval.server", "--args.policy", "tiny-disturbed"]
    server = subprocess.Popen([*serve, "--host", "127.0.0.1", "--port", str(port)], env=env)
    try:
        for _ in range(300):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            assert server.poll() is None
            time.sleep(0.2)
        run = [sys.executable, "-m", "vla_eval.cli.main", "run", "--config", str(config), "--no-docker"]
        done = subprocess.run(run, env=env, capture_output=True, text=True, timeout=300, check=False)
    finally:
        server.terminate()
        server.wait()
    assert done.returncode == 0, done.stderr[-3000:]
    assert "ForeactWorlds: 100.0%" in done.stdout and "errored" not in done.stdout, done.stdout
