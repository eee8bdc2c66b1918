"""A training run: from datasets whose latents are cached to a policy on disk."""

import copy
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

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
from foreact.policy.initial import initial_origin, initial_text_encoder, load_initial
from foreact.policy.instructions import kept
from foreact.policy.policy import Networks, Policy
from foreact.policy.predictor import InferenceConfig
from foreact.settings import read_json, to_plain
from foreact.training.corruption import CorruptionConfig
from foreact.training.optimization import OptimizationConfig, make_optimizer
from foreact.training.processes import check_alone
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
    action_initialization: ActionInitialization = "interpolated"
    """Where the action stream starts from."""
    precision: str = "float32"
    """Of the network's arithmetic: float32 or bfloat16; weights are float32."""
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

    Raises:
        CheckpointError: `folder` holds a run of other settings, or a damaged one, or `initial` does not fit.
        ConfigurationError: The recipe's text encoder can only come with initial weights, this is one of several
            processes, or somebody else writes to `folder`.
        DatasetError: See `load_training_data`.
        TrainingError: A loss or gradient is no finite number.
    """
    check_alone()
    with only_writer(folder):
        data = load_training_data(recipe, datasets, vae, latents=latents)
        networks = begin(recipe, vae, initial)
        networks.model.to(device)
        networks.vae.to(device).eval()
        run = Run(recipe, data, networks, folder, None if initial is None else initial_origin(initial))
        run.resume()
        yield from run.steps()


def begin(recipe: Recipe, vae: VideoVAE, initial: Path | None) -> Networks:
    """Return the networks that training starts with: drawn from the recipe's seed, or read from initial weights.

    Raises:
        CheckpointError: `initial` does not fit the recipe.
        ConfigurationError: The recipe's text encoder can only come with initial weights.
    """
    sizes = recipe.transformer
    if initial is not None:
        model, text_encoder = load_initial(initial, sizes), initial_text_encoder(initial, sizes)
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
    return Networks(model=model, vae=vae, text_encoder=HashedWordEncoder(dim=recipe.text_dim))


def _what_is_computed(recipe: Recipe) -> dict[str, Any]:
    """Return the settings that a run has to keep when it is resumed; how it comes by its gradients may change."""
    settings = to_plain(recipe)
    del settings["batch"]["recompute"], settings["batch"]["micro_batch"]
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
    ):
        self._recipe, self._data, self._networks, self._folder = recipe, data, networks, folder
        self._model = networks.model
        self._state = TrainingState(self._model, make_optimizer(self._model, recipe.optimization))
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
        )
        self._judged, self._disagreement = "", None
        self._configuration = {
            "recipe": _what_is_computed(recipe),
            "episodes": [len(source) for source in data.sources],
            "actions": _without_motion(data.codec.to_dict()),
        }
        if origin is not None:
            self._configuration["initial"] = origin

    def resume(self) -> None:
        """Take over what an earlier call left in the folder, if there is anything."""
        self._folder.mkdir(parents=True, exist_ok=True)
        if (self._folder / STATE_FILE).exists():
            self._state.load(self._folder / STATE_FILE, self._configuration)
            saved = read_json(self._folder / POLICY_FOLDER / CONFIG_FILE)
            self._disagreement = saved["inference"]["disagreement_threshold"]
        write_whole(self._folder / "recipe.json", json.dumps(to_plain(self._recipe), indent=1).encode())

    def steps(self) -> Iterator[Progress]:
        """Take the steps that are left, yielding after each."""
        from torch.utils.tensorboard import SummaryWriter  # recipes are read where nothing is trained, too

        recipe, state = self._recipe, self._state
        num_steps, notes = recipe.optimization.num_steps, self._data.notes
        with SummaryWriter(self._folder / "tensorboard", purge_step=state.step) as log:
            while state.step < num_steps:
                progress = self._step(log)
                done = state.step == num_steps
                if done or state.step % recipe.judge_every == 0:
                    self._judge(log)
                if done or state.step % recipe.save_every == 0:
                    self._save()
                yield replace(progress, judged=self._judged, notes=notes)
                notes = ()

    def _step(self, log: Any) -> Progress:
        recipe, state = self._recipe, self._state
        result, norm = take_step(state, self._learner, recipe.optimization)
        for name, value in (*vars(result).items(), ("grad_norm", norm)):
            log.add_scalar(f"train/{name}", value, state.step - 1)
        return Progress(step=state.step, num_steps=recipe.optimization.num_steps, judged=self._judged, **vars(result))

    def policy(self) -> Policy:
        """Return the policy as it stands, on the averaged weights."""
        averaged = copy.deepcopy(self._model).eval()
        averaged.load_state_dict(self._state.ema)
        networks = replace(self._networks, model=averaged)
        instructions = kept(sequence.instruction for source in self._data.sources for sequence in source)
        return Policy(networks, self._data.codec, self._recipe.inference, instructions=instructions)

    def _judge(self, log: Any) -> None:
        chunk = self._recipe.inference.latent_frames_per_chunk
        if not any(True for sequence in self._data.held_out for _ in whole_chunks(sequence, chunk)):
            return
        error = open_loop_error(self.policy(), self._data.held_out, seed=self._recipe.seed)
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
        if self._disagreement is not None:
            policy = with_settings(policy, disagreement_threshold=self._disagreement)
        save_policy(policy, self._folder / POLICY_FOLDER, provenance=provenance)
        self._state.save(self._folder / STATE_FILE, self._configuration)
