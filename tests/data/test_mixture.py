"""Datasets by folder, by name on the hub, and as a list with weights and robots."""

from pathlib import Path

import pytest
from huggingface_hub import constants

from foreact.data.episodes import EpisodeDataset
from foreact.data.mixture import Part, find_dataset, read_parts
from foreact.errors import DatasetError


@pytest.fixture(scope="module")
def dataset(tiny, tmp_path_factory) -> EpisodeDataset:
    return tiny.dataset(tmp_path_factory.mktemp("mixture") / "push")


def on_the_hub(cache: Path, dataset: EpisodeDataset, name: str, revision: str = "main") -> Path:
    """Put a dataset where huggingface_hub keeps what it has fetched: links in a snapshot to the files in blobs."""
    repository, commit = cache / f"datasets--{name.replace('/', '--')}", "b" * 40
    snapshot = repository / "snapshots" / commit
    for number, path in enumerate(sorted(path for path in dataset.root.rglob("*") if path.is_file())):
        blob, link = repository / "blobs" / f"{number:040x}", snapshot / path.relative_to(dataset.root)
        blob.parent.mkdir(parents=True, exist_ok=True)
        link.parent.mkdir(parents=True, exist_ok=True)
        blob.write_bytes(path.read_bytes())
        link.symlink_to(blob)
    (repository / "refs").mkdir()
    (repository / "refs" / revision).write_text(commit)
    return snapshot


def test_a_folder_is_itself(dataset, tmp_path) -> None:
    assert find_dataset(dataset.root) == dataset.root
    assert find_dataset(tmp_path / "nowhere") == tmp_path / "nowhere"


def test_a_name_on_the_hub_is_the_folder_it_was_fetched_into(dataset, tmp_path, monkeypatch) -> None:
    """Offline: what was fetched before is used, links and all."""
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    snapshot = on_the_hub(tmp_path, dataset, "someone/push", revision="v3.0")
    assert find_dataset("someone/push@v3.0", cache_dir=tmp_path) == snapshot
    fetched = EpisodeDataset(snapshot)
    assert fetched.num_episodes == dataset.num_episodes
    frames = [each.episode(1).frames("observation.images.top", [0, 3]) for each in (fetched, dataset)]
    assert (frames[0] == frames[1]).all()
    with pytest.raises(
        DatasetError, match=r"dataset 'someone/push' on the hub.*HF_HUB_OFFLINE is set.*--repo-type dataset"
    ):
        find_dataset("someone/push", cache_dir=tmp_path)  # that revision was never fetched


def test_a_mixture_lists_datasets_with_weights_and_robots(dataset, tmp_path) -> None:
    (tmp_path / "near").symlink_to(dataset.root)
    file = tmp_path / "mixture.toml"
    file.write_text(
        f"""
        [[dataset]]
        data = "near"
        weight = 2
        episodes = 3

        [[dataset]]
        data = "{dataset.root}"
        embodiment = "planar"
        rename = {{"observation.images.top" = "front"}}
        """
    )
    first, second = read_parts([file])
    assert (first.weight, first.num_episodes, first.embodiment) == (2.0, 3, None)
    assert first.dataset.root == tmp_path / "near"
    assert (second.weight, second.num_episodes) == (1.0, None)
    assert second.embodiment is not None and second.embodiment.name == "planar"
    assert "observation.images.front" in second.dataset.camera_keys
    assert [part.dataset.root for part in read_parts([dataset.root, file])] == [
        dataset.root,
        first.dataset.root,
        dataset.root,
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", r"mixture .*one or more tables \[\[dataset\]\]"),
        ("dataset = 3", r"mixture .*one or more tables"),
        ("[[dataset]", r"mixture .*allowed: TOML text"),
        ("[[dataset]]\nweight = 1", r"dataset 1 of .*got: \['weight'\]; allowed: data"),
        ("[[dataset]]\ndata = '{root}'\nweigth = 1", r"dataset 1 of .*weigth"),
        ("[[dataset]]\ndata = '{root}'\nweight = -1", r"dataset 1 of .*weight of .*allowed: more than 0"),
        ("[[dataset]]\ndata = '{root}'\nweight = 'much'", r"dataset 1 of .*setting weight"),
        ("[[dataset]]\ndata = '{root}'\nepisodes = 0", r"dataset 1 of .*episodes of .*allowed: 1 or more"),
        ("[[dataset]]\ndata = '{root}'\nrename = 'x'", r"dataset 1 of .*rename; got: x; allowed: a table"),
        ("[[dataset]]\ndata = '{root}'\nembodiment = 'planr'", r"dataset 1 of .*unknown embodiment.*did you mean"),
        ("[[dataset]]\ndata = '{root}'\nembodiment = 'mine.toml'", r"dataset 1 of .*embodiment file .*mine.toml"),
        ("[[dataset]]\ndata = 'nowhere'", r"dataset 1 of .*nowhere"),
    ],
)
def test_what_is_no_mixture_is_refused_by_name(dataset, tmp_path, text: str, message: str) -> None:
    file = tmp_path / "mixture.toml"
    file.write_text(text.replace("{root}", str(dataset.root)))
    with pytest.raises(DatasetError, match=message):
        read_parts([file])


def test_a_mixture_that_is_not_there_is_refused(tmp_path) -> None:
    with pytest.raises(DatasetError, match=r"mixture .*No such file.*check the path"):
        read_parts([tmp_path / "mixture.toml"])


def test_a_part_has_a_share(dataset) -> None:
    with pytest.raises(DatasetError, match="allowed: more than 0"):
        Part(dataset=dataset, weight=float("inf"))
