from dataclasses import fields, replace

import pytest

from foreact.errors import ConfigurationError, UnknownNameError
from foreact.policy.inference import CHOICES, InferenceChoices, InferenceConfig, inference_from_plain
from foreact.policy.policy import with_settings
from foreact.policy.trained import TrainedFor


@pytest.mark.parametrize(
    ("facts", "named"),
    [
        ({"video_shift": 0.0}, "video_shift"),
        ({"action_shift": -1.0}, "action_shift"),
        ({"largest_chunk": 0}, "largest_chunk"),
        ({"forward_dynamics": True, "imagines": False}, "forward_dynamics.*imagines False"),
        ({"forward_dynamics": True, "first_frame": "chunk"}, "forward_dynamics.*first_frame 'chunk'"),
    ],
)
def test_what_no_network_can_learn_is_refused(facts: dict, named: str) -> None:
    with pytest.raises(ConfigurationError, match=named):
        TrainedFor(**facts)


def test_a_chunk_larger_than_any_of_training_is_refused() -> None:
    trained = TrainedFor(largest_chunk=4)
    assert InferenceConfig(latent_frames_per_chunk=4, trained=trained).choices == InferenceChoices()
    with pytest.raises(ConfigurationError, match=r"latent_frames_per_chunk with largest_chunk.*5 with 4"):
        InferenceConfig(latent_frames_per_chunk=5, trained=trained)


def test_choices_and_training_join_to_what_they_were() -> None:
    config = InferenceConfig(window=9, s_stop=0.5, trained=TrainedFor(action_shift=2.0, few_steps=True))
    assert InferenceConfig.join(config.choices, config.trained) == config
    assert not set(CHOICES) & {fact.name for fact in fields(TrainedFor)}, "no fact is in both"


def test_what_training_decided_cannot_be_chosen(tiny) -> None:
    policy = tiny.policy()
    for name in ("imagines", "video_shift", "trained"):
        with pytest.raises(UnknownNameError, match="window"):
            with_settings(policy, **{name: 1.0})
    assert with_settings(policy, window=3).config == replace(policy.config, window=3)


def test_a_flat_table_is_taken_apart() -> None:
    config = inference_from_plain({"window": 5, "video_shift": 2.0, "imagines": False})
    assert config == InferenceConfig(window=5, trained=TrainedFor(video_shift=2.0, imagines=False))
    with pytest.raises(ConfigurationError, match="a table of names and values"):
        inference_from_plain(None)
