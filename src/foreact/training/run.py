"""A training run: from datasets whose latents are cached to a policy on disk."""

import copy
import json
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from foreact.codecs.text import HashedWordEncoder
from foreact.codecs.video_vae import VideoVAE
from foreact.data.batch import SequenceSampler
from foreact.data.episodes import EpisodeDataset
from foreact.data.mixture import Part
from foreact.errors import ConfigurationError
from foreact.files import write_whole
from foreact.folders import only_writer
from foreact.policy.networks import Networks
from foreact.policy.policy import Policy, with_settings
from foreact.policy.storage.checkpoint import CONFIG_FILE, save_policy
from foreact.policy.storage.initial import initial_origin, initial_text_encoder, load_initial, open_initial
from foreact.settings import read_json, to_plain
from foreact.training.disk import check_disk, disk_bytes
from foreact.training.methods import (
    base_weights,
    check_method,
    freeze,
    frozen_digest,
    merged_weights,
    reset_adapters,
    store_frozen_in_bfloat16,
)
from foreact.training.optimization import make_optimizer
from foreact.training.ranks import Ranks, joined
from foreact.training.recipe import Recipe
from foreact.training.robots import RobotData, TrainingData, load_training_data
from foreact.training.sharded_state import complete_states, load_sharded, save_sharded, step_of
from foreact.training.sharding import fill, shard_model
from foreact.training.state import TrainingState
from foreact.training.step import Learner, Targets, take_step
from foreact.training.validation import open_loop_error, whole_chunks
from foreact.transformer.initialization import initialize
from foreact.transformer.model import TransformerConfig, WorldActionModel

STATE_FILE = "state.safetensors"
POLICY_FOLDER = "policy"
OTHER_POLICIES = "policies"
"""Of the robots after the first."""


@dataclass(frozen=True, kw_only=True)
class Progress:
    """What a run tells after every step."""

    step: int
    """Steps done."""
    num_steps: int
    loss: float
    dynamics: float
    forward_dynamics: float
    inverse: float
    judged: str
    """The latest measurement on held-out episodes, in words."""
    tokens_per_s: float = 0.0
    """Through the networks of all processes, padding among them, over the whole step."""
    data_share: float = 0.0
    """Of the step's time in which the first process made batches, and its device may have waited for them."""
    notes: tuple[str, ...] = ()
    """What is to be known of the data, told with the first step."""


def train(
    recipe: Recipe,
    datasets: Sequence[EpisodeDataset | Part],
    vae: VideoVAE,
    folder: Path,
    *,
    initial: Path | None = None,
    latents: Path | None = None,
    device: torch.device | str = "cpu",
    should_stop: Callable[[], bool] = lambda: False,
) -> Iterator[Progress]:
    """Train, yielding after every step; carry on exactly where an interrupted call of the same settings stopped.

    `folder` gets `policy/` (what `foreact.load` takes, on the averaged weights), `state.safetensors` (for resuming),
    `recipe.json`, `log.jsonl` and TensorBoard's files. Where several robots learn together, `policy/` is of the first,
    and `policies/NAME/` of each of the others: the same weights with that robot's cameras, rates and actions.

    Args:
        recipe: All settings.
        datasets: With their latents cached; of other robots than the recipe's as parts of a mixture.
        vae: They were encoded with it.
        folder: Of the run.
        initial: Weights to begin with, written by `foreact init`, or a policy to go on from; None: from scratch.
        latents: Folder of the latents, if not with the datasets.
        device: Where to train.
        should_stop: Asked after every step, of every process; once one says yes, the run is saved, and ends.

    Raises:
        CheckpointError: `folder` holds a run of other settings, or a damaged one, or `initial` does not fit.
        ConfigurationError: The recipe's text encoder can only come with initial weights, the processes do not divide
            as the recipe says, or somebody else writes to `folder`.
        DatasetError: See `load_training_data`.
        TrainingError: A loss or gradient is no finite number.
    """
    device = torch.device(device)
    with joined(device) as ranks, only_writer(folder) if ranks.is_first else nullcontext():
        data = load_training_data(recipe, datasets, vae, latents=latents)
        networks = begin(recipe, vae, initial, ranks, device)
        if ranks.is_first and any(robot.held_out for robot in data.robots):  # it only shows what was imagined of them
            networks.vae.to(device)
        networks.vae.eval()
        run = Run(recipe, data, networks, folder, None if initial is None else initial_origin(initial), ranks=ranks)
        run.resume()
        yield from run.steps(should_stop)


def begin(
    recipe: Recipe,
    vae: VideoVAE,
    initial: Path | None,
    ranks: Ranks | None = None,
    device: torch.device | str = "cpu",
) -> Networks:
    """Return the networks that training starts with: drawn from the recipe's seed, or read from initial weights.

    Where several processes train, the network's weights are sharded, and each reads its own part.

    Raises:
        CheckpointError: `initial` does not fit the recipe.
        ConfigurationError: The recipe's text encoder can only come with initial weights.
    """
    sizes, ranks, device = recipe.transformer, ranks or Ranks(), torch.device(device)
    check_method(recipe.method, sizes.is_shared, begins_with_weights=initial is not None)
    if initial is not None:
        text_encoder = initial_text_encoder(initial, sizes)
        if ranks.world > 1:
            model = _shard(recipe, ranks, device, open_initial(initial, sizes).items())
        else:
            model = load_initial(initial, sizes)
            _freeze(recipe, model)
            reset_adapters(model, recipe.seed)
            model.to(device)
        has_files = not isinstance(text_encoder, HashedWordEncoder)
        return Networks(model=model, vae=vae, text_encoder=text_encoder, text_files=initial if has_files else None)
    if sizes.text_length:
        raise ConfigurationError(
            "initial weights",
            got="none",
            allowed="a folder with the text encoder that this recipe's network reads",
            cure="make it once with `foreact init`, and give it as --initial",
        )
    model = WorldActionModel(sizes)
    initialize(model, seed=recipe.seed, action=recipe.action_initialization)
    if ranks.world > 1:
        model = _shard(recipe, ranks, device, model.state_dict().items())
    return Networks(model=model.to(device), vae=vae, text_encoder=HashedWordEncoder(dim=recipe.transformer.text_dim))


def _shard(
    recipe: Recipe, ranks: Ranks, device: torch.device, tensors: Iterable[tuple[str, torch.Tensor]]
) -> WorldActionModel:
    """Return the recipe's network, a part of its weights on each process, filled from whole tensors one by one."""
    if recipe.optimization.layer_matrices == "muon":
        raise ConfigurationError(
            "optimization.layer_matrices with sharded weights", got="muon", allowed="adamw: muon needs whole matrices"
        )
    if recipe.average_on_cpu:
        raise ConfigurationError("average_on_cpu with sharded weights", got=True, allowed="False: each has a part")
    with torch.device("meta"):
        model = WorldActionModel(recipe.transformer)
        _freeze(recipe, model)
    mesh = ranks.mesh(recipe.parallel, device)
    shard_model(model, mesh, bfloat16=recipe.precision == "bfloat16").to_empty(device=device)
    fill(base_weights(model), tensors, "initial weights")
    reset_adapters(model, recipe.seed)
    return model


def _freeze(recipe: Recipe, model: WorldActionModel) -> None:
    freeze(model, recipe.method, recipe.adapters)
    if recipe.frozen_precision == "bfloat16":
        store_frozen_in_bfloat16(model)


def _what_is_computed(recipe: Recipe) -> dict[str, Any]:
    """Return the settings that a run has to keep when it is resumed; how it comes by its gradients may change."""
    settings = to_plain(recipe)
    del settings["batch"]["recompute"], settings["batch"]["micro_batch"], settings["parallel"]
    del settings["average_on_cpu"]
    return settings


def _without_motion(actions: dict[str, Any]) -> dict[str, Any]:
    """Return a codec's settings without how fast the robot may be driven, of which nothing is learnt."""
    kept = copy.deepcopy(actions)
    for dof in kept["embodiment"]["dofs"]:
        dof.pop("velocity", None)
        dof.pop("acceleration", None)
    return kept


class Run:
    """The moving parts of one call of `train`, or of `distillation.distill`."""

    def __init__(
        self,
        recipe: Recipe,
        data: TrainingData,
        networks: Networks,
        folder: Path,
        origin: Any,
        make_targets: Callable[[TrainingState], Targets] | None = None,
        ranks: Ranks | None = None,
    ):
        self._ranks = ranks or Ranks()
        self._recipe, self._data, self._networks, self._folder = recipe, data, networks, folder
        self._model = networks.model
        self._state = TrainingState(
            self._model, make_optimizer(self._model, recipe.optimization), average_on_cpu=recipe.average_on_cpu
        )
        self._learner = Learner(
            self._model,
            SequenceSampler(data.sources, weights=data.weights, max_frames=recipe.batch.max_frames, seed=recipe.seed),
            networks.text_encoder,
            batch=recipe.batch,
            corruption=recipe.corruption,
            seed=recipe.seed,
            bfloat16=recipe.precision == "bfloat16",
            targets=None if make_targets is None else make_targets(self._state),
            ranks=self._ranks,
        )
        self._sizes = [recipe.transformer, *(self._sizes_for(robot) for robot in data.robots[1:])]
        self._judged, self._disk = "", ""
        self._disagreement: dict[str, float | None] = {}
        self._configuration = {
            "recipe": _what_is_computed(recipe),
            "episodes": [len(source) for source in data.sources],
            "actions": _without_motion(data.codec.to_dict()),
        }
        if len(data.robots) > 1 or len(set(data.weights)) > 1:
            others = [_without_motion(robot.codec.to_dict()) for robot in data.robots[1:]]
            self._configuration["mixture"] = {"weights": list(data.weights), "other_robots": others}
        if origin is not None:
            self._configuration["initial"] = origin
        if recipe.method != "full":
            self._configuration["frozen"] = frozen_digest(self._model)

    def resume(self) -> None:
        """Take over what an earlier call left in the folder, if there is anything."""
        self._folder.mkdir(parents=True, exist_ok=True)
        whole, parts = self._folder / STATE_FILE, complete_states(self._folder)
        if whole.exists():
            self._state.load(whole, self._configuration)
        if parts and step_of(parts[-1]) > self._state.step:  # written by another number of processes, later
            load_sharded(self._state, parts[-1], self._configuration, self._ranks)
        if self._state.step:
            for robot in self._data.robots:
                saved = read_json(self._policy_folder(robot) / CONFIG_FILE)
                self._disagreement[robot.name] = saved["inference"]["disagreement_threshold"]
        if self._ranks.is_first and self._state.step < self._recipe.optimization.num_steps:
            trained = sum(weight.numel() for weight in self._state.weights.values())
            total = sum(weight.numel() for weight in base_weights(self._model).values())
            num_policies = len(self._data.robots)
            self._disk = check_disk(self._folder, disk_bytes(trained, num_policies * total, self._ranks.world))
        if self._ranks.is_first:
            write_whole(self._folder / "recipe.json", json.dumps(to_plain(self._recipe), indent=1).encode())

    def steps(self, should_stop: Callable[[], bool] = lambda: False) -> Iterator[Progress]:
        """Take the steps that are left, yielding after each; save and end early once a process is to stop."""
        recipe, state = self._recipe, self._state
        num_steps, notes = recipe.optimization.num_steps, (*self._data.notes, self._disk)
        with self._log() as log:
            while state.step < num_steps:
                progress = self._step(log)
                done = state.step == num_steps
                stops = self._ranks.any(should_stop()) and not done
                if done or state.step % recipe.eval_every == 0:
                    self._judge(log)
                if done or stops or state.step % recipe.save_every == 0:
                    self._save()
                yield replace(progress, judged=self._judged, notes=notes)
                notes = ()
                if stops:
                    return

    def _log(self) -> AbstractContextManager[Any]:
        """Return TensorBoard's writer; None for all processes but the first."""
        if not self._ranks.is_first:
            return nullcontext()
        from torch.utils.tensorboard import SummaryWriter  # recipes are read where nothing is trained, too

        return SummaryWriter(self._folder / "tensorboard", purge_step=self._state.step)

    def _step(self, log: Any) -> Progress:
        recipe, state = self._recipe, self._state
        began = time.perf_counter()
        result, norm = take_step(state, self._learner, recipe.optimization)  # its figures are on the CPU: it is done
        seconds = time.perf_counter() - began
        tokens, data_s = self._learner.take_effort()
        tokens = self._ranks.sum(torch.tensor(float(tokens), dtype=torch.float64)).item()
        speed = {"tokens_per_s": tokens / seconds, "data_share": data_s / seconds}
        figures = vars(result) | {"grad_norm": norm} | speed
        for name, value in figures.items() if self._ranks.is_first else ():
            log.add_scalar(f"train/{name}", value, state.step - 1)
        num_steps = recipe.optimization.num_steps
        return Progress(
            step=state.step,
            num_steps=num_steps,
            judged=self._judged,
            tokens_per_s=speed["tokens_per_s"],
            data_share=speed["data_share"],
            **vars(result),
        )

    def policies(self, device: torch.device | str = "cpu", dtype: torch.dtype = torch.float32) -> list[Policy]:
        """Return each robot's policy as it stands, on the averaged weights, to the first process; to others nothing.

        Args:
            device: Where their network lies.
            dtype: Of its weights.
        """
        weights = merged_weights(self._state, self._recipe.adapters, keep=self._ranks.is_first)
        if not self._ranks.is_first:
            return []
        weights = {name: value.to(device, dtype) for name, value in weights.items()}
        made = []
        for robot, sizes in zip(self._data.robots, self._sizes, strict=True):
            with torch.device("meta"):
                averaged = WorldActionModel(sizes).eval()
            averaged.load_state_dict(weights, assign=True)
            networks = replace(self._networks, model=averaged)
            made.append(Policy(networks, robot.codec, self._recipe.policy_config(), instructions=robot.instructions))
        return made

    def _sizes_for(self, robot: RobotData) -> TransformerConfig:
        """Return the network's sizes with another robot's canvas and actions: no weight depends on them.

        Raises:
            ConfigurationError: A weight does, or the robot's do not fit into patches and tokens.
        """
        sizes, embodiment = self._recipe.transformer, robot.codec.embodiment
        fitting = replace(
            sizes,
            canvas=embodiment.layout.canvas_shape(self._networks.vae.spatial_factor),
            actions_per_latent_frame=embodiment.timing.actions_per_latent_frame,
        )
        if sizes.learned_positions and fitting != sizes:
            raise ConfigurationError(
                f"learned_positions with the robot {robot.name!r}",
                got=f"canvas {fitting.canvas}, {fitting.actions_per_latent_frame} actions a latent frame",
                allowed=f"{sizes.canvas} and {sizes.actions_per_latent_frame}, as of the first robot",
                cure="use a recipe without learned positions, or cameras and rates that are the same",
            )
        return fitting

    def _policy_folder(self, robot: RobotData) -> Path:
        """Return where a robot's policy is saved."""
        first = robot is self._data.robots[0]
        return self._folder / POLICY_FOLDER if first else self._folder / OTHER_POLICIES / robot.name

    def _judge(self, log: Any) -> None:
        """Measure the policy on held-out episodes; the first process does it while the others wait."""
        chunk, robots = self._recipe.inference.latent_frames_per_chunk, self._data.robots
        judged = [robot for robot in robots if any(True for s in robot.held_out for _ in whole_chunks(s, chunk))]
        if not judged:
            return
        # In bfloat16 where training computes so: next to the training's own memory there is little room.
        dtype = torch.bfloat16 if self._recipe.precision == "bfloat16" else torch.float32
        policies, said, written = self.policies(next(self._model.parameters()).device, dtype), [], {}
        for robot, policy in zip(robots, policies, strict=False):  # no policies on the other processes
            if robot in judged:
                prefix = f"{robot.name}/" if len(robots) > 1 else ""
                figures = {f"{prefix}{name}": value for name, value in self._measure(policy, robot).items()}
                said.append(", ".join(f"{name} {value:.3g}" for name, value in figures.items()))
                written |= figures
        if written:
            for name, value in written.items():
                log.add_scalar(f"held_out/{name}", value, self._state.step)
            self._judged = "; ".join(said)
            with (self._folder / "log.jsonl").open("a") as file:
                file.write(json.dumps({"step": self._state.step, "time": time.time(), **written}) + "\n")
        self._ranks.wait()

    def _measure(self, policy: Policy, robot: RobotData) -> dict[str, float]:
        error = open_loop_error(policy, robot.held_out, seed=self._recipe.seed)
        self._disagreement[robot.name] = error.disagreement
        return {name: value for name, value in vars(error).items() if value is not None}

    def _save(self) -> None:
        """Save the policy, and after it the state: of a run that is killed in between, some steps are done again."""
        provenance = {"steps": self._state.step, **self._configuration}
        provenance.pop("actions")
        for robot, policy in zip(self._data.robots, self.policies(), strict=False):
            threshold = self._disagreement.get(robot.name)
            if threshold is not None:
                policy = with_settings(policy, disagreement_threshold=threshold)
            save_policy(policy, self._policy_folder(robot), provenance=provenance)
        if self._ranks.world > 1:
            save_sharded(self._state, self._folder, self._configuration, self._ranks)
        else:
            self._state.save(self._folder / STATE_FILE, self._configuration)
