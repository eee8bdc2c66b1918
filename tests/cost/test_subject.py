"""What is described: a recipe, or a policy's folder; and how a folder that cannot be is refused."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

import foreact
from foreact.cost.subject import UMT5_PARAMETERS, subject_of_policy, subject_of_recipe
from foreact.cost.video_vae import WAN22
from foreact.errors import CheckpointError
from foreact.recipes import get_recipe

SHIPPED = Path(foreact.__file__).parent / "checkpoints" / "tiny"


@pytest.fixture
def folder(tmp_path) -> Path:
    """The configurations of the shipped policy, without its weights."""
    (tmp_path / "vae").mkdir()
    for name in ("config.json", "vae/config.json"):
        (tmp_path / name).write_text((SHIPPED / name).read_text())
    return tmp_path


def change(path: Path, edit) -> None:
    config = json.loads(path.read_text())
    edit(config)
    path.write_text(json.dumps(config))


def test_a_policy_is_what_its_recipe_was(folder):
    policy, recipe = subject_of_policy(folder), subject_of_recipe("tiny", get_recipe("tiny-grounded"))
    assert policy.transformer == recipe.transformer
    measured = {"disagreement_threshold": policy.inference.disagreement_threshold}
    assert policy.inference == replace(recipe.inference, **measured) and measured["disagreement_threshold"] > 0
    sizes = {"global_batch": recipe.batch.global_batch, "micro_batch": recipe.batch.micro_batch}
    assert replace(policy.batch, **sizes) == recipe.batch, "what ships was trained with larger batches"
    assert policy.embodiment == recipe.embodiment
    ignored = ("latents_mean", "latents_std", "_class_name", "_diffusers_version", "_use_default_values")
    small = {key: value for key, value in recipe.video_vae.items() if key not in ignored}
    assert {key: policy.video_vae[key] for key in small} == {
        key: list(value) if isinstance(value, tuple) else value for key, value in small.items()
    }


def test_a_policy_of_unknown_training_is_described_without_it(folder):
    change(folder / "config.json", lambda config: config.update(provenance={}))
    assert subject_of_policy(folder).batch is None


def test_full_size_presets_use_wans_frozen_parts():
    for name in ("wan5b", "wan5b-shared"):
        subject = subject_of_recipe(name, get_recipe(name))
        assert subject.uses_umt5
        assert subject.video_vae == WAN22
        assert subject.text_tokens == 21, "words, and one key for all the padding"
    assert not subject_of_recipe("small", get_recipe("small")).uses_umt5


def test_padding_that_does_not_fit_beside_the_words_has_no_key(tiny):
    subject = replace(subject_of_recipe("tiny", get_recipe("tiny")), transformer=tiny.sizes(text_length=8))
    assert subject.text_tokens == 20


def test_umt5s_size_is_that_of_its_architecture():
    transformers = pytest.importorskip("transformers")
    import torch

    config = transformers.UMT5Config(
        vocab_size=256384,
        d_model=4096,
        d_kv=64,
        d_ff=10240,
        num_layers=24,
        num_heads=64,
        feed_forward_proj="gated-gelu",
    )
    with torch.device("meta"):
        network = transformers.UMT5EncoderModel(config)
    assert sum(p.numel() for p in network.parameters()) == UMT5_PARAMETERS


def test_a_published_folder_is_what_its_name_says(tmp_path):
    folder = tmp_path / "lingbot-va-posttrain-robotwin"
    golden = Path(__file__).parents[1] / "golden" / "t_shape"
    for part in ("transformer", "vae"):
        (folder / part).mkdir(parents=True)
        (folder / part / "config.json").write_text((golden / part / "config.json").read_text())
    subject = subject_of_policy(folder)
    assert subject.transformer.is_shared
    assert subject.transformer.canvas == (24, 20)
    assert (subject.inference.window, subject.inference.trained.first_frame) == (72, "chunk")
    assert subject.uses_umt5


def test_a_published_folder_of_an_unknown_name_is_refused(tmp_path):
    for part in ("transformer", "vae"):
        (tmp_path / part).mkdir()
    with pytest.raises(CheckpointError, match="lingbot-va-posttrain-robotwin"):
        subject_of_policy(tmp_path)


@pytest.mark.parametrize("name", ["config.json", "vae/config.json"])
def test_a_missing_configuration_is_named(folder, name):
    (folder / name).unlink()
    with pytest.raises(CheckpointError, match=f"no file .*{name}"):
        subject_of_policy(folder)


@pytest.mark.parametrize("text", ["{", "[]"])
def test_a_damaged_configuration_is_refused(folder, text):
    (folder / "config.json").write_text(text)
    with pytest.raises(CheckpointError, match="configuration"):
        subject_of_policy(folder)


def test_a_foreign_format_is_refused(folder):
    change(folder / "config.json", lambda config: config.update(format="else"))
    with pytest.raises(CheckpointError, match=r"format of .*else.*foreact-policy"):
        subject_of_policy(folder)


@pytest.mark.parametrize(
    "edit",
    [
        lambda config: config["transformer"].update(unknown=1),
        lambda config: config.pop("inference"),
        lambda config: config.update(provenance=[]),
    ],
)
def test_a_configuration_that_describes_nothing_possible_is_refused(folder, edit):
    change(folder / "config.json", edit)
    with pytest.raises(CheckpointError, match="configuration in"):
        subject_of_policy(folder)
