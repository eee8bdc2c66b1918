"""`foreact demo`, in real time on the shipped policy."""

import json

import pytest

from foreact.commands.demo import best_mode
from foreact.commands.main import main


def refused(capsys, *arguments: object) -> str:
    with pytest.raises(SystemExit) as stopped:
        main(["demo", *map(str, arguments)])
    assert stopped.value.code == 2
    return " ".join(capsys.readouterr().err.split())


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--episodes", 0), "episodes; got: 0; allowed: 1 or more"),
        (("--task", "lift_cub"), "did you mean 'lift_cube'"),
        (("--view", "film.mp4"), "allowed: live, a file that ends in .rrd"),
        (("--policy", "tiny-reactive", "--controller", "naive"), "policy under naive control"),
    ],
)
def test_what_cannot_be_shown_is_refused_before_anything_runs(tmp_path, capsys, arguments, said) -> None:
    assert said in refused(capsys, *arguments, "--out", tmp_path / "out")
    assert not (tmp_path / "out" / "realtime.json").exists()


def test_the_robot_acts_while_it_thinks_if_its_policy_can(tiny) -> None:
    assert best_mode(tiny.policy()) == "synchronous"
    assert best_mode(tiny.policy(forward_dynamics=True)) == "grounded"


@pytest.mark.sim
def test_the_first_episode_is_shown_twice(tmp_path, capsys) -> None:
    steps = ("--schedule", "turbo", "--controller", "naive", "--threads", "1")
    main(["demo", "--task", "reach_cube", "--episodes", "1", "--out", str(tmp_path), *steps])
    said = " ".join(capsys.readouterr().out.split())
    shown = json.loads((tmp_path / "realtime.json").read_text())
    assert [(one["controller"], one["seed"]) for one in shown] == [("synchronous", 1_000_000), ("naive", 1_000_000)]
    assert all(one["num_ticks"] > 50 and one["duration_s"] > 1 for one in shown)
    for row in ("first chunk awaited", "idle after that", "commands over 5 ms late", "deadlines missed"):
        assert row in said
    for end in (".mp4", "-turns.png", "-actions.png", "-imagination.png"):
        assert (tmp_path / f"reach_cube-1000000{end}").stat().st_size > 1000
