"""`foreact modes`: what it measures and writes, and how it refuses."""

import json
from pathlib import Path

import pytest
from PIL import Image

from foreact.commands.main import main
from foreact.data.episodes import EpisodeDataset
from foreact.data.latents import LatentCache
from foreact.data.sequences import load_sequences
from foreact.evaluation.modes import episode_errors
from foreact.policy.storage.checkpoint import save_policy
from foreact.settings import to_plain


@pytest.fixture(scope="module")
def toy(tiny, tmp_path_factory) -> dict[str, Path]:
    """A policy that was trained for forward dynamics, one that was not, and an encoded dataset."""
    folder = tmp_path_factory.mktemp("toy")
    dataset, policy = tiny.dataset(folder / "data", lengths=(9, 17, 19)), tiny.policy(forward_dynamics=True)
    list(LatentCache(dataset, policy.networks.vae, policy.embodiment).encode_missing())
    tiny.dataset(folder / "not_encoded", lengths=(9,))
    save_policy(policy, folder / "policy", provenance={})
    save_policy(tiny.policy(), folder / "plain", provenance={})
    return {name: folder / name for name in ("policy", "plain", "data", "not_encoded")}


def modes(toy, out: Path, *more: object, policy: object = None, data: str = "data") -> None:
    words = ["modes", "--policy", policy or toy["policy"], "--data", toy[data], "--out", out, *more]
    if "--held-out" not in more:
        words += ["--held-out", 2]
    main([str(word) for word in words])


def test_it_measures_held_out_episodes(tiny, toy, tmp_path, capsys) -> None:
    modes(toy, tmp_path / "out", "--seed", 3)
    said = " ".join(capsys.readouterr().out.split())
    for word in ("video only", "forward dynamics", "inverse dynamics", "last one held", "2 held-out episodes"):
        assert word in said
    assert any(word in said for word in ("better", "worse", "not decided"))
    stored = json.loads((tmp_path / "out" / "modes.json").read_text())
    policy = tiny.policy(forward_dynamics=True)
    assert (stored["weights"], stored["seed"], stored["held_out"]) == (policy.digest(), 3, 2)
    assert [episode["episode"] for episode in stored["episodes"]] == [1, 2]
    dataset = EpisodeDataset(toy["data"])
    sequences = load_sequences(dataset, LatentCache(dataset, policy.networks.vae, policy.embodiment), policy.codec)
    wanted = to_plain(episode_errors(policy, sequences[2], seed=4))
    assert stored["episodes"][1]["counts"] == wanted["counts"]
    for measure, by in wanted["totals"].items():
        assert stored["episodes"][1]["totals"][measure] == pytest.approx(by, rel=1e-3, abs=1e-4)
    figure = stored["errors"]["actions"]["inverse dynamics"]
    assert figure["low"] <= figure["value"] <= figure["high"]
    assert {d["measure"] for d in stored["differences"]} == {"actions", "latents", "pixels"}
    Image.open(tmp_path / "out" / "modes.png").verify()


@pytest.mark.parametrize(
    ("more", "changes", "stored"),
    [
        (("--held-out", 0), {}, "held-out episodes of each dataset; got: 0; allowed: 1 or more"),
        (("--held-out", 1), {}, "held-out episodes; got: 1; allowed: 2 or more"),
        ((), {"policy": "tiny-reactive"}, "imagines nothing; allowed: one that imagines"),
        ((), {"policy": "plain"}, "post-train it: foreact train --recipe tiny-grounded"),
        ((), {"data": "not_encoded"}, "run `foreact encode` on this dataset first"),
    ],
)
def test_refusals_write_nothing(toy, tmp_path, capsys, more, changes: dict, stored: str) -> None:
    if changes.get("policy") == "plain":
        changes = {"policy": toy["plain"]}
    with pytest.raises(SystemExit) as stopped:
        modes(toy, tmp_path / "out", *more, **changes)
    assert stopped.value.code == 2
    assert stored in " ".join(capsys.readouterr().err.split())
    assert not (tmp_path / "out").exists()


def test_a_file_in_the_way_of_the_folder_is_refused(toy, tmp_path, capsys) -> None:
    (tmp_path / "out").write_text("in the way")
    with pytest.raises(SystemExit):
        modes(toy, tmp_path / "out")
    assert "a folder that can be written to" in " ".join(capsys.readouterr().err.split())
    assert (tmp_path / "out").read_text() == "in the way"
