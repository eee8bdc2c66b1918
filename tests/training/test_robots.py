"""Two robots of other joints, cameras and rates learn together."""

from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from foreact import load
from foreact.codecs.text import HashedWordEncoder
from foreact.data.batch import SequenceSampler
from foreact.data.episodes import EpisodeDataset
from foreact.data.latents import CAMERA_PREFIX, LatentCache
from foreact.data.mixture import Part
from foreact.data.recorder import DatasetWriter
from foreact.embodiments import Arm, CameraLayout, Dof, Embodiment, Timing
from foreact.errors import ConfigurationError, DatasetError
from foreact.training.corruption import CorruptionConfig
from foreact.training.optimization import OptimizationConfig
from foreact.training.recipe import Recipe
from foreact.training.robots import load_training_data
from foreact.training.run import OTHER_POLICIES, POLICY_FOLDER, STATE_FILE, train
from foreact.training.step import BatchConfig, Learner

TOY = str(Path(__file__).parent / "toy.toml")


@pytest.fixture(scope="module")
def single() -> Embodiment:
    """One camera instead of two, half as many actions, the other arm."""
    return Embodiment(
        name="single",
        description="Two joints on the right.",
        dofs=tuple(Dof(name=name, unit="rad", low=-2.0, high=2.0) for name in ("pan", "tilt")),
        arms=(Arm(side="right", space="joint", representation="absolute", entries=(0, 1)),),
        layout=CameraLayout(kind="side_by_side", cameras=("eye",), height=16, width=8),
        timing=Timing(action_hz=25.0, camera_stride=1, vae_factor=2, latent_frames_per_chunk=2),
    )


@pytest.fixture(scope="module")
def parts(tiny, single, tmp_path_factory) -> list[Part]:
    """A dataset of each robot, encoded."""
    folder = tmp_path_factory.mktemp("robots")
    names = list(single.dof_names)
    with DatasetWriter.create_or_resume(
        folder / "single",
        fps=25,
        robot_type="single",
        features={"observation.state": names, "action": names},
        cameras={CAMERA_PREFIX + "eye": (16, 16)},
    ) as writer:
        for number, length in enumerate((12, 9, 15)):
            turned = 0.3 * np.sin(np.arange(length)[:, None] / 4 + number + np.arange(2)).astype(np.float32)
            pictures = (np.full((16, 16, 3), 20 * row % 255, np.uint8) for row in range(length))
            writer.add_episode(
                columns={"observation.state": turned, "action": turned},
                videos={CAMERA_PREFIX + "eye": pictures},
                instruction="look around",
            )
    made = [
        Part(dataset=tiny.dataset(folder / "toy"), weight=3.0),
        Part(dataset=EpisodeDataset(folder / "single"), embodiment=single),
    ]
    for part in made:
        list(LatentCache(part.dataset, tiny.vae(), part.embodiment or tiny.embodiment()).encode_missing())
    return made


@pytest.fixture(scope="module")
def recipe(tiny) -> Recipe:
    return Recipe(
        embodiment=TOY,
        transformer=tiny.sizes(),
        corruption=CorruptionConfig(),
        batch=BatchConfig(global_batch=4, micro_batch=4, max_frames=6, max_chunk=2, window=(2, 4)),
        optimization=OptimizationConfig(num_steps=4, learning_rate=1e-2, warmup_steps=1),
        inference=tiny.inference().choices,
        num_held_out=1,
        save_every=2,
        eval_every=2,
    )


def learner_of(tiny, model, recipe: Recipe, sources, weights=None) -> Learner:
    sampler = SequenceSampler(sources, weights=weights, max_frames=6, seed=1)
    encoder = HashedWordEncoder(dim=8)
    return Learner(model, sampler, encoder, batch=recipe.batch, corruption=recipe.corruption, seed=1)


def test_each_robot_has_units_and_shapes_of_its_own(tiny, parts, single, recipe) -> None:
    data = load_training_data(recipe, parts, tiny.vae())
    assert [robot.name for robot in data.robots] == ["toy", "single"]
    assert data.weights == (3.0, 1.0) and [len(source) for source in data.sources] == [3, 2]
    toy, other = data.sources[0][0], data.sources[1][0]
    assert toy.shape_of_frame == (4, 4, 4) and other.shape_of_frame == (4, 2, 2)
    assert torch.equal(other.channel_mask, torch.from_numpy(single.channel_mask.copy()))
    assert other.actions[..., other.channel_mask].abs().max() > 0.5
    assert not other.actions[..., ~other.channel_mask].any()
    assert data.robots[1].instructions == ("look around",)


def test_the_recipes_own_robot_comes_first(tiny, parts, recipe) -> None:
    data = load_training_data(recipe, parts[::-1], tiny.vae())
    assert [robot.name for robot in data.robots] == ["toy", "single"] and data.weights == (3.0, 1.0)


def test_a_step_is_the_mean_over_the_samples_of_both(tiny, parts, recipe) -> None:
    """The gradient of a mixed global batch is that of its samples one by one: nothing leaks from robot to robot."""
    data, model = load_training_data(recipe, parts, tiny.vae()), tiny.model()
    learner = learner_of(tiny, model, recipe, data.sources)
    drawn = [learner._sampler.draw(0, index) for index in range(4)]
    assert len({sequence.shape_of_frame for sequence in drawn}) == 2
    model.zero_grad(set_to_none=True)
    result = learner.accumulate_gradients(0)
    together = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
    model.zero_grad(set_to_none=True)
    for index, sequence in enumerate(drawn):
        losses = learner.losses([sequence], [index], 0)
        ((losses.dynamics + losses.inverse).sum() / 4).backward()
    for name, parameter in model.named_parameters():
        if name in together:
            torch.testing.assert_close(together[name], parameter.grad, atol=1e-6, rtol=1e-4)
    assert np.isfinite(result.loss)


def test_sources_are_drawn_as_they_are_weighed(tiny, parts, recipe) -> None:
    data = load_training_data(recipe, parts, tiny.vae())
    sampler = SequenceSampler(data.sources, weights=data.weights, max_frames=6, seed=0)
    drawn = Counter(sampler.draw(step, 0).shape_of_frame for step in range(800))
    share = drawn[(4, 4, 4)] / 800
    assert 0.70 < share < 0.80, "three times in four, within three standard errors"


def test_both_robots_get_a_policy_that_acts_and_the_run_resumes_exactly(tiny, parts, recipe, tmp_path) -> None:
    torch.set_num_threads(1)
    progress = list(train(recipe, parts, tiny.vae(), tmp_path / "whole"))
    assert "toy/action_error" in progress[-1].judged and "single/action_error" in progress[-1].judged
    toy = load(tmp_path / "whole" / POLICY_FOLDER)
    other = load(tmp_path / "whole" / OTHER_POLICIES / "single")
    assert toy.actions_per_chunk == 8 and other.actions_per_chunk == 4
    assert toy.instructions == ("pull it", "push it") and other.instructions == ("look around",)
    mine, theirs = toy.networks.model.state_dict(), other.networks.model.state_dict()
    assert all(torch.equal(mine[name], theirs[name]) for name in mine)
    session = other.start("look around")
    picture = np.full((1, 16, 8, 3), 90, np.uint8)
    other.observe_first(session, {"eye": picture}, np.array([0.1, 0.2], np.float32))
    assert other.predict(session).actions.shape == (4, 2)

    for now in train(recipe, parts, tiny.vae(), tmp_path / "cut"):
        if now.step == 3:  # saved at 2, so that a step is done again
            break
    list(train(recipe, parts, tiny.vae(), tmp_path / "cut"))
    one, again = (load_file(tmp_path / name / STATE_FILE) for name in ("whole", "cut"))
    assert all(torch.equal(one[name], again[name]) for name in one)


def test_two_robots_of_one_name_are_refused(tiny, parts, single, recipe) -> None:
    twin = replace(parts[1], embodiment=replace(single, description="another", layout=tiny.embodiment().layout))
    with pytest.raises(DatasetError, match=r"robot 'single' of .*allowed: one robot a name"):
        load_training_data(recipe, [*parts, twin], tiny.vae())


def test_learned_positions_fit_one_robot_only(tiny, parts, recipe, tmp_path) -> None:
    learned = replace(recipe, transformer=tiny.sizes(learned_positions=True))
    with pytest.raises(ConfigurationError, match=r"learned_positions with the robot 'single'.*canvas \(4, 2\)"):
        next(train(learned, parts, tiny.vae(), tmp_path))
