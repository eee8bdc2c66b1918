import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from foreact.data.episodes import EpisodeDataset
from foreact.data.latents import LatentCache
from foreact.data.sequences import EXECUTED, fit_codec, load_sequences, make_sequence
from foreact.errors import DatasetError

LENGTHS = (21, 17, 30, 26)


@pytest.fixture(scope="module")
def dataset(tiny, tmp_path_factory) -> EpisodeDataset:
    return tiny.dataset(tmp_path_factory.mktemp("dataset") / "d", lengths=LENGTHS)


def test_quantiles_are_those_of_all_actions(tiny, dataset) -> None:
    codec = fit_codec([dataset], tiny.embodiment())
    actions = dataset.column("action").astype(np.float64)
    mask = codec.mask
    assert mask.sum() == 3
    np.testing.assert_allclose(codec.normalizer.q01[mask], np.quantile(actions, 0.01, axis=0), atol=1e-6)
    np.testing.assert_allclose(codec.normalizer.q99[mask], np.quantile(actions, 0.99, axis=0), atol=1e-6)
    twice = fit_codec([dataset, dataset], tiny.embodiment())
    np.testing.assert_allclose(twice.normalizer.q99, codec.normalizer.q99, atol=2e-3)


@pytest.mark.parametrize("number", range(4))
def test_an_episode_by_latent_frame(tiny, dataset, number: int) -> None:
    """Latent frame f >= 1 holds actions 4(f-1) .. 4f-1; frame 0 those that hold the robot still."""
    codec, episode = fit_codec([dataset], tiny.embodiment()), dataset.episode(number)
    length = LENGTHS[number]
    num_frames = 1 + -(-(length - 1) // 4)
    latents = torch.randn(4, num_frames, 4, 4)
    sequence = make_sequence(episode, latents, codec)
    assert sequence.num_frames == num_frames and torch.equal(sequence.latents, latents)
    assert sequence.instruction == ("push it" if number % 2 else "pull it")
    for column, values in (("action", sequence.actions), (EXECUTED, sequence.executed)):
        recorded = episode.column(column)
        decoded = codec.decode(values.flatten(0, 1).numpy())
        held = np.repeat(episode.column("observation.state")[:1], 4, axis=0)
        np.testing.assert_allclose(decoded[:4], held, atol=1e-6)
        for frame in range(1, num_frames):
            for j in range(4):
                row = 4 * (frame - 1) + j
                got = decoded[4 * frame + j]
                np.testing.assert_allclose(got, recorded[min(row, length - 1)], atol=1e-6)
                assert bool(sequence.action_valid[frame, j]) == (row < length)
    assert sequence.action_valid[0].all()
    assert sequence.frame_valid.tolist() == [4 * f < length for f in range(num_frames)]


def test_only_the_tail_is_invalid(tiny, dataset) -> None:
    codec = fit_codec([dataset], tiny.embodiment())
    # 30 rows: latent frame 8 would end at row 32; rows 30 and 31 do not exist.
    sequence = make_sequence(dataset.episode(2), torch.zeros(4, 9, 4, 4), codec)
    assert (~sequence.action_valid).nonzero().tolist() == [[8, 2], [8, 3]]
    assert (~sequence.frame_valid).nonzero().flatten().tolist() == [8]


def test_what_was_executed_is_the_history_and_the_label_the_target(tiny, dataset) -> None:
    codec = fit_codec([dataset], tiny.embodiment())
    latents = torch.zeros(4, 6, 4, 4)
    sequence = make_sequence(dataset.episode(0), latents, codec)
    assert not torch.allclose(sequence.actions[1:], sequence.executed[1:], atol=1e-3)
    plain = make_sequence(dataset.episode(0), latents, codec, executed_column="action")
    assert torch.equal(plain.actions, plain.executed)


def test_a_whole_dataset(tiny, dataset) -> None:
    embodiment, vae = tiny.embodiment(), tiny.vae()
    cache = LatentCache(dataset, vae, embodiment)
    list(cache.encode_missing())
    sequences = load_sequences(dataset, cache, fit_codec([dataset], embodiment))
    assert [s.num_frames for s in sequences] == [6, 5, 9, 8]
    assert all(s.latents.shape[1] == len(s.actions) == len(s.frame_valid) for s in sequences)


def test_latents_that_were_never_encoded(tiny, dataset) -> None:
    cache = LatentCache(dataset, tiny.vae(seed=5), tiny.embodiment())
    with pytest.raises(DatasetError, match="foreact encode"):
        load_sequences(dataset, cache, tiny.codec())


def test_no_episodes_at_all(tiny, tmp_path) -> None:
    with pytest.raises(DatasetError):
        fit_codec([tiny.dataset(tmp_path / "d", lengths=())], tiny.embodiment())


@pytest.mark.parametrize(("value", "entry"), [(1e20, 1), (-4000.0, 0)])
def test_a_number_that_was_never_set_is_named(tiny, tmp_path, value: float, entry: int) -> None:
    dataset = tiny.dataset(tmp_path / "d", lengths=(21, 17))
    path = sorted((dataset.root / "data").rglob("*.parquet"))[1]
    table = pq.read_table(path)
    actions = table.column("action").to_pylist()
    actions[5][entry] = value
    place = table.column_names.index("action")
    pq.write_table(table.set_column(place, "action", pa.array(actions, pa.list_(pa.float32()))), path)
    name = tiny.embodiment().dof_names[entry]
    with pytest.raises(
        DatasetError, match=f"action of episode 1 of .*, row 5, '{name}'; got: .*a number like the others, from"
    ):
        fit_codec([EpisodeDataset(dataset.root)], tiny.embodiment())
