"""Every command that writes a folder: one writer at a time, and one line where nothing can be written."""

import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from foreact.commands import describe
from foreact.commands.main import main
from foreact.data.latents import LatentCache
from foreact.folders import LOCK_FILE, only_writer
from foreact.policy.storage.checkpoint import save_policy

PICTURE = Path(__file__).parents[2] / "examples" / "lift_cube_top.png"
Words = Callable[[Path, Path], list[object]]
COMMANDS: dict[str, Words] = {
    "collect": lambda made, out: ["--task", "reach_cube", "--episodes", 1, "--out", out],
    "evaluate": lambda made, out: ["--task", "reach_cube", "--episodes", 1, "--out", out],
    "demo": lambda made, out: ["--episodes", 1, "--out", out],
    "evaluate --data": lambda made, out: ["--policy", made / "policy", "--data", made / "data", "--out", out],
    "export": lambda made, out: [made / "policy", "--out", out],
    "train-vae": lambda made, out: ["--data", made / "data", "--out", out],
    "bench": lambda made, out: ["--preset", "tiny", "--out", out],
    "modes": lambda made, out: ["--policy", made / "policy", "--data", made / "data", "--out", out],
    "imagine": lambda made, out: ["--image", f"top={PICTURE}", "--instruction", "lift", "--out", out],
}


@pytest.fixture
def made(tiny, tmp_path) -> Path:
    """Return a folder with a policy and a dataset that is encoded for it."""
    policy = tiny.policy()
    save_policy(policy, tmp_path / "policy", provenance={})
    dataset = tiny.dataset(tmp_path / "data", lengths=(21, 17))
    list(LatentCache(dataset, policy.networks.vae, policy.embodiment).encode_missing())
    return tmp_path


def refused(capsys, command: str, words: list[object]) -> str:
    with pytest.raises(SystemExit) as ended:
        main([command.split()[0], *map(str, words)])
    assert ended.value.code == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ") and error.count("\n") == 1
    return error


@pytest.mark.parametrize("command", COMMANDS)
def test_the_second_writer_is_refused_and_told_of_the_first(command: str, made: Path, capsys) -> None:
    out = made / "out"
    with only_writer(out):
        error = refused(capsys, command, COMMANDS[command](made, out))
        assert f"folder {out}; got: process {os.getpid()} on " in error and "writes to it" in error
        assert [path.name for path in sorted(out.iterdir())] == [".writer", LOCK_FILE]


@pytest.mark.parametrize("command", COMMANDS)
def test_a_folder_that_cannot_be_made_is_refused_in_one_line(command: str, made: Path, capsys) -> None:
    (made / "file").write_text("in the way")
    error = refused(capsys, command, COMMANDS[command](made, made / "file" / "out"))
    assert str(made / "file") in error
    assert (made / "file").read_text() == "in the way"


def test_latents_have_one_writer(tiny, made: Path, capsys) -> None:
    tiny.vae().save(made / "vae")
    dataset = tiny.dataset(made / "other", lengths=(9,))
    cache = LatentCache(dataset, tiny.vae(), tiny.embodiment())
    with only_writer(cache.folder), pytest.raises(Exception, match=rf"process {os.getpid()} on .* writes to it"):
        list(cache.encode_missing())


@pytest.mark.parametrize(
    ("number", "stored"),
    [
        (errno.ENOSPC, "No space left on device: 'x.json'; free some space, or choose another disk, then repeat"),
        (errno.EDQUOT, "free some space"),
        (errno.EROFS, "choose a folder that can be written to"),
    ],
)
def test_a_disk_that_fails_in_the_middle_is_one_line(number: int, stored: str, monkeypatch, capsys) -> None:
    def fail(_) -> None:
        raise OSError(number, os.strerror(number), "x.json")

    monkeypatch.setattr(describe, "run", fail)
    assert stored in refused(capsys, "describe", ["tiny"])


def test_other_errors_of_the_system_are_not_hidden(monkeypatch) -> None:
    def fail(_) -> None:
        raise OSError(errno.EADDRINUSE, "Address already in use")

    monkeypatch.setattr(describe, "run", fail)
    with pytest.raises(OSError, match="Address already in use"):
        main(["describe", "tiny"])
