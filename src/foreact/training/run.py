"""A training run: from datasets whose latents are cached to a policy on disk."""

import copy
import json
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import torch

from foreact.codecs.text import HashedWordEncoder
from foreact.codecs.video_vae import VideoVAE
from foreact.data.batch import SequenceSampler, TrainingSequence
from foreact.data.episodes import Episode, EpisodeDataset
from foreact.data.latents import LatentCache
from foreact.data.sequences import fit_codec, load_sequences
from foreact.embodiments import ActionCodec, CameraLayout, Embodiment, load_embodiment
from foreact.errors import ConfigurationError, DatasetError
from foreact.files import write_whole
from foreact.folders import only_writer
from foreact.policy.checkpoint import CONFIG_FILE, save_policy, with_settings
from foreact.policy.initial import initial_origin, initial_text_encoder, load_initial, open_initial
from foreact.policy.instructions import kept
from foreact.policy.policy import Networks, Policy
from foreact.policy.predictor import InferenceConfig
from foreact.settings import read_json, to_plain
from foreact.training.corruption import CorruptionConfig
from foreact.training.disk import check_disk, disk_bytes
from foreact.training.methods import (
    AdapterConfig,
    Method,
    base_weights,
    check_method,
    freeze,
    frozen_digest,
    merged_weights,
    reset_adapters,
    store_frozen_in_bfloat16,
)
from foreact.training.optimization import OptimizationConfig, make_optimizer
from foreact.training.ranks import ParallelConfig, Ranks, joined
from foreact.training.sharded_state import complete_states, load_sharded, save_sharded, step_of
from foreact.training.sharding import fill, shard_model
from foreact.training.state import TrainingState
from foreact.training.step import BatchConfig, Learner, Targets, take_step
from foreact.training.validation import open_loop_error, whole_chunks
from foreact.transformer.initialization import ActionInitialization, initialize
from foreact.transformer.model import TransformerConfig, WorldActionModel

STATE_FILE = "state.safetensors"
POLICY_FOLDER = "policy"


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """The whole tree of settings of one training run."""

    embodiment: str
    """Name or TOML file of the robot."""
    layout: CameraLayout | None = None
    """Which of the robot's cameras the policy sees, and how; None: as the embodiment says."""
    text_dim: int
    """Width of the small text encoder."""
    transformer: TransformerConfig
    """Sizes of the network."""
    corruption: CorruptionConfig
    """What noise it learns from."""
    batch: BatchConfig
    """How much it learns from at once."""
    optimization: OptimizationConfig
    """How it is optimised."""
    inference: InferenceConfig
    """How the trained policy computes its chunks, unless told otherwise."""
    method: Method = "full"
    """What is trained: all weights, the action stream alone (action), or that and adapters beside the video stream's
    matrices (lora). The last two need weights to begin with."""
    adapters: AdapterConfig = field(default_factory=AdapterConfig)
    """Of `lora`."""
    parallel: ParallelConfig = field(default_factory=ParallelConfig)
    """How several processes divide the work, where `torchrun` has started more than one."""
    action_initialization: ActionInitialization = "interpolated"
    """Where the action stream starts from."""
    precision: str = "float32"
    """Of the network's arithmetic: float32 or bfloat16; weights are float32."""
    frozen_precision: Literal["float32", "bfloat16"] = "float32"
    """How frozen weights are kept. With bfloat16 the matrices of the layers, nearly all of them, take half the memory;
    losses and gradients are the same to the last bit, since `precision` has to be bfloat16 too."""
    average_on_cpu: bool = False
    """Keep the moving average of the weights in the memory of the CPU; for one process."""
    num_held_out: int = 5
    """Last episodes of every dataset that are never trained on, and judged instead."""
    num_episodes: int | None = None
    """First episodes of every dataset that are trained on, as if no others had been recorded but those held out; None:
    all. However many they are, the same ones are held out."""
    save_every: int = 100
    """Steps between checkpoints."""
    judge_every: int = 500
    """Steps between measurements on held-out episodes."""
    seed: int = 0
    """Of the weights and of every draw."""

    def robot(self) -> Embodiment:
        """Return the embodiment with the cameras that this recipe's policy sees."""
        embodiment = load_embodiment(self.embodiment)
        return embodiment if self.layout is None else replace(embodiment, layout=self.layout)

    def __post_init__(self) -> None:
        if self.precision not in ("float32", "bfloat16"):
            raise ConfigurationError("precision", got=self.precision, allowed="float32, bfloat16")
        if self.frozen_precision == "bfloat16" != self.precision:
            raise ConfigurationError(
                "frozen_precision", got="bfloat16", allowed=f"float32, since `precision` is {self.precision}"
            )
        if self.text_dim != self.transformer.text_dim:
            raise ConfigurationError("text_dim", got=self.text_dim, allowed=self.transformer.text_dim)
        for learned, claimed in (
            ("forward_dynamics_probability", "forward_dynamics"),
            ("action_prefix_probability", "action_prefixes"),
        ):
            probability, claim = getattr(self.corruption, learned), getattr(self.inference, claimed)
            if (probability > 0) != claim:
                got = f"corruption.{learned} {probability:g} with inference.{claimed} {claim}"
                raise ConfigurationError("what is learned and used", got=got, allowed="both, or neither")
        for name in ("save_every", "judge_every"):
            if getattr(self, name) < 1:
                raise ConfigurationError(name, got=getattr(self, name), allowed="1 or more")
        if self.num_episodes is not None and self.num_episodes < 1:
            raise ConfigurationError("num_episodes", got=self.num_episodes, allowed="1 or more, or none for all")


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


@dataclass(frozen=True, kw_only=True)
class TrainingData:
    """Everything a run learns from and is judged by."""

    sources: list[list[TrainingSequence]]
    held_out: list[TrainingSequence]
    codec: ActionCodec
    notes: tuple[str, ...] = ()
    """What was passed over, in words."""


def load_training_data(
    recipe: Recipe,
    datasets: list[EpisodeDataset],
    vae: VideoVAE,
    *,
    latents: Path | None = None,
    codec: ActionCodec | None = None,
) -> TrainingData:
    """Return the datasets in model units, their last episodes held out.

    Normalisation is fitted to the episodes that are taken, those held out among them. Episodes that are over before
    the first action's latent frame teach nothing, and are passed over.

    Args:
        recipe: For the robot and what is held out.
        datasets: With their latents cached.
        vae: They were encoded with it.
        latents: Folder of the latents, if not with the datasets.
        codec: The robot and its normalisation, where a policy already has one; None: the recipe's robot, and fitted.

    Raises:
        DatasetError: A dataset does not fit the robot, has no cached latents, or too few episodes.
    """
    embodiment = recipe.robot() if codec is None else codec.embodiment
    if recipe.num_episodes is not None:
        datasets = [_Ends(dataset, recipe.num_episodes, recipe.num_held_out) for dataset in datasets]
    codec = codec or fit_codec(datasets, embodiment)
    sources, held_out, notes = [], [], []
    for dataset in datasets:
        cache = LatentCache(dataset, vae, embodiment, elsewhere=latents)
        every = load_sequences(dataset, cache, codec)
        sequences = [sequence for sequence in every if sequence.num_frames > 1]
        notes += [f"passed over, too short: {sequence.name}" for sequence in every if sequence.num_frames < 2]
        if len(sequences) <= recipe.num_held_out:
            raise DatasetError(
                f"episodes in {dataset.root}",
                got=len(sequences),
                allowed=f"more than the {recipe.num_held_out} that are held out",
            )
        cut = len(sequences) - recipe.num_held_out
        sources.append(sequences[:cut])
        held_out.extend(sequences[cut:])
    chunk = recipe.inference.latent_frames_per_chunk
    if not any(True for sequence in held_out for _ in whole_chunks(sequence, chunk)):
        notes.append(f"nothing to judge by: no held-out episode is as long as a chunk of {chunk} latent frames")
    return TrainingData(sources=sources, held_out=held_out, codec=codec, notes=tuple(notes))


class _Ends(EpisodeDataset):
    """Goes through the first and the last episodes of a dataset, under their own numbers, and leaves out the others."""

    def __init__(self, dataset: EpisodeDataset, num_first: int, num_last: int):
        super().__init__(dataset.root, renames=dataset.renames)
        if num_first + num_last > self.num_episodes:
            raise DatasetError(
                f"episodes in {dataset.root}",
                got=self.num_episodes,
                allowed=f"{num_first} to train on and {num_last} to hold out, or more",
            )
        self._numbers = [*range(num_first), *range(self.num_episodes - num_last, self.num_episodes)]

    def __len__(self) -> int:
        return len(self._numbers)

    def __iter__(self) -> Iterator[Episode]:
        return (self.episode(number) for number in self._numbers)


def train(
    recipe: Recipe,
    datasets: list[EpisodeDataset],
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
    `recipe.json`, `log.jsonl` and TensorBoard's files.

    Args:
        recipe: All settings.
        datasets: With their latents cached.
        vae: They were encoded with it.
        folder: Of the run.
        initial: Weights to begin with, written by `foreact init`, or a policy to go on from; None: from nothing.
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
        if data.held_out and ranks.is_first:  # it only shows what was imagined of them
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
    return Networks(model=model.to(device), vae=vae, text_encoder=HashedWordEncoder(dim=recipe.text_dim))


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
            SequenceSampler(data.sources, max_frames=recipe.batch.max_frames, seed=recipe.seed),
            networks.text_encoder,
            batch=recipe.batch,
            corruption=recipe.corruption,
            channel_mask=data.codec.mask,
            seed=recipe.seed,
            bfloat16=recipe.precision == "bfloat16",
            targets=None if make_targets is None else make_targets(self._state),
            ranks=self._ranks,
        )
        self._judged, self._disagreement, self._disk = "", None, ""
        self._configuration = {
            "recipe": _what_is_computed(recipe),
            "episodes": [len(source) for source in data.sources],
            "actions": _without_motion(data.codec.to_dict()),
        }
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
            saved = read_json(self._folder / POLICY_FOLDER / CONFIG_FILE)
            self._disagreement = saved["inference"]["disagreement_threshold"]
        if self._ranks.is_first and self._state.step < self._recipe.optimization.num_steps:
            trained = sum(weight.numel() for weight in self._state.weights.values())
            total = sum(weight.numel() for weight in base_weights(self._model).values())
            self._disk = check_disk(self._folder, disk_bytes(trained, total, self._ranks.world))
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
                if done or state.step % recipe.judge_every == 0:
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
        return Progress(step=state.step, num_steps=num_steps, judged=self._judged, **vars(result), **speed)

    def policy(self, device: torch.device | str = "cpu", dtype: torch.dtype = torch.float32) -> Policy | None:
        """Return the policy as it stands, on the averaged weights, to the first process; to the others nothing.

        Args:
            device: Where its network lies.
            dtype: Of its network's weights.
        """
        weights = merged_weights(self._state, self._recipe.adapters, keep=self._ranks.is_first)
        if not self._ranks.is_first:
            return None
        with torch.device("meta"):
            averaged = WorldActionModel(self._recipe.transformer).eval()
        averaged.load_state_dict(weights, assign=True)
        networks = replace(self._networks, model=averaged.to(device, dtype))
        instructions = kept(sequence.instruction for source in self._data.sources for sequence in source)
        return Policy(networks, self._data.codec, self._recipe.inference, instructions=instructions)

    def _judge(self, log: Any) -> None:
        """Measure the policy on held-out episodes; the first process does it while the others wait."""
        chunk = self._recipe.inference.latent_frames_per_chunk
        if not any(True for sequence in self._data.held_out for _ in whole_chunks(sequence, chunk)):
            return
        # In bfloat16 where training computes so: beside the training's own memory there is little room.
        dtype = torch.bfloat16 if self._recipe.precision == "bfloat16" else torch.float32
        policy = self.policy(next(self._model.parameters()).device, dtype)
        if policy is not None:
            self._measure(policy, log)
        self._ranks.wait()

    def _measure(self, policy: Policy, log: Any) -> None:
        error = open_loop_error(policy, self._data.held_out, seed=self._recipe.seed)
        figures = {name: value for name, value in vars(error).items() if value is not None}
        for name, value in figures.items():
            log.add_scalar(f"held_out/{name}", value, self._state.step)
        self._disagreement = error.disagreement
        self._judged = ", ".join(f"{name} {value:.3g}" for name, value in figures.items())
        with (self._folder / "log.jsonl").open("a") as file:
            file.write(json.dumps({"step": self._state.step, "time": time.time(), **figures}) + "\n")

    def _save(self) -> None:
        """Save the policy, and after it the state: of a run that is killed in between, some steps are done again."""
        provenance = {"steps": self._state.step, **self._configuration}
        provenance.pop("actions")
        policy = self.policy()
        if policy is not None:
            if self._disagreement is not None:
                policy = with_settings(policy, disagreement_threshold=self._disagreement)
            save_policy(policy, self._folder / POLICY_FOLDER, provenance=provenance)
        if self._ranks.world > 1:
            save_sharded(self._state, self._folder, self._configuration, self._ranks)
        else:
            self._state.save(self._folder / STATE_FILE, self._configuration)
