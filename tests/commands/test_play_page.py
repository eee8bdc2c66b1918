"""`foreact play`, as a program of its own."""

import re
import signal
import subprocess
import sys
import urllib.request

import pytest

from foreact.commands.main import main
from foreact.commands.play import policies_for_this_robot

pytest.importorskip("viser", reason="the extra `play` is not installed")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [(("--port", "70000"), "port; got: 70000; allowed: 1 to 65535"), (("--task", "lift"), "unknown task")],
)
def test_what_cannot_be_served_is_refused(capsys, arguments, said) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["play", "--no-open", *arguments])
    assert stopped.value.code == 2
    assert said in " ".join(capsys.readouterr().err.split())


def test_policies_of_other_robots_are_not_offered() -> None:
    assert policies_for_this_robot() == ["tiny", "tiny-disturbed", "tiny-reactive"]


@pytest.mark.sim
def test_the_page_is_served_until_it_is_interrupted() -> None:
    command = [sys.executable, "-m", "foreact", "play", "--no-open", "--port", "18970", "--threads", "1"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        try:
            said = ""
            while not (found := re.search(r"http://localhost:\d+", said)):
                line = process.stdout.readline()
                assert line, said
                said += line if "The page is at" in line else ""
            with urllib.request.urlopen(found.group().replace("localhost", "127.0.0.1"), timeout=60) as answer:
                assert answer.status == 200 and b"<html" in answer.read(4096).lower()
            process.send_signal(signal.SIGINT)
            rest = process.communicate(timeout=60)[0]
        finally:
            process.kill()
    assert process.returncode == 0, rest
    assert "The page is closed." in rest
