"""Gates of a lean forward that need no clock: operations counted, and what must not run inside a denoising step."""

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, replace

import pytest
import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

from foreact.codecs.text import TextEmbedding
from foreact.cost.passes import Past, action_step
from foreact.policy.inference import InferenceConfig
from foreact.policy.predictor import Predictor
from foreact.policy.rollout import Rollout
from foreact.policy.trained import TrainedFor
from foreact.recipes import get_recipe
from foreact.transformer.attention import CachedAttention
from foreact.transformer.block import gelu
from foreact.transformer.cache import KVCache
from foreact.transformer.joint_layer import TextTokens
from foreact.transformer.model import TextContext, TransformerConfig, WorldActionModel
from foreact.transformer.positions import RotaryTable
from foreact.transformer.tokens import StreamInput

WORDS = 15
"""Tokens of the instruction; all its padding is one key more."""
SIZES = {
    "latent_channels": 48,
    "action_channels": 30,
    "video_width": 256,
    "action_width": 256,
    "num_layers": 6,
    "num_heads": 2,
    "video_ffn_dim": 1024,
    "action_ffn_dim": 1024,
    "text_dim": 256,
    "backbone": "shared",
    "action_embedding": "linear",
    "text_length": 512,
}
CHUNKS = {
    "LIBERO": (
        {"canvas": (8, 16), "actions_per_latent_frame": 4},
        {"latent_frames_per_chunk": 4, "window": 60, "video_steps": 20},
    ),
    "RoboTwin": (
        {"canvas": (24, 20), "actions_per_latent_frame": 16},
        {"latent_frames_per_chunk": 2, "window": 72, "video_steps": 25},
    ),
}
PORT = {
    ("LIBERO", 28): 302_225_555_456,
    ("LIBERO", 56): 347_410_792_448,
    ("RoboTwin", 34): 886_155_247_616,
    ("RoboTwin", 70): 1_376_114_966_528,
}
"""Operations of a chunk of LeRobot's port, appending its observation included, after so many latent frames: counted
on the port itself by benchmarks/against_port/flops.py."""
LEAST = {
    ("LIBERO", 28): 2.5,
    ("LIBERO", 56): 2.19,
    ("RoboTwin", 34): 1.45,
    ("RoboTwin", 70): 1.31,
}
"""How many times ours it must be. With a full window most of both is attention to it, which nothing spares."""


@dataclass(frozen=True)
class Pass:
    """What one call of the network costs depends on."""

    video: torch.Size | None
    action: torch.Size | None
    num_observed: int
    num_imagined: int


@pytest.mark.parametrize(("name", "history"), PORT)
def test_a_chunk_takes_a_fraction_of_the_ports_operations(name, history):
    sizes, schedule = CHUNKS[name]
    config = TransformerConfig(**(SIZES | sizes))
    inference = InferenceConfig(
        **schedule, action_steps=50, video_guidance=5.0, trained=TrainedFor(first_frame="chunk")
    )
    passes = passes_of_a_chunk(config, inference, history)
    assert len(passes) == inference.video_steps + 1 + 50 + 1
    operations = {each: counted_in_layers(config, inference, each) for each in set(passes)}
    ours = sum(operations[each] for each in passes)
    assert PORT[name, history] / ours >= LEAST[name, history]


def passes_of_a_chunk(config: TransformerConfig, inference: InferenceConfig, history: int) -> list[Pass]:
    """Return every call that the predictor makes of its network for a chunk and its observation; none is computed."""
    with torch.device("meta"):
        model = WorldActionModel(config)
    made: list[Pass] = []
    rollout = meta_rollout(model, inference, history)

    def record(video: StreamInput | None, action: StreamInput | None, *_, **__):
        shapes = [None if stream is None else stream.values.shape for stream in (video, action)]
        made.append(Pass(shapes[0], shapes[1], rollout.cache.num_observed, rollout.cache.num_imagined_tokens))
        return tuple(None if stream is None else torch.zeros_like(stream.values) for stream in (video, action))

    model.forward = record  # type: ignore[method-assign]
    predictor = Predictor(model, inference, torch.ones(config.action_channels, dtype=torch.bool))
    frames = inference.latent_frames_per_chunk
    with Fetching(allowed=True):
        predictor.predict(rollout)
    latents = torch.zeros(config.latent_channels, frames, *config.canvas)
    predictor.append_observed(
        rollout, latents, torch.zeros(frames, config.actions_per_latent_frame, config.action_channels)
    )
    return made


def counted_in_layers(config: TransformerConfig, inference: InferenceConfig, each: Pass) -> int:
    """Return the operations of a pass from those with one layer and with two: counting takes its time."""
    one, two = (counted(replace(config, num_layers=num_layers), inference, each) for num_layers in (1, 2))
    return one + (config.num_layers - 1) * (two - one)


def counted(config: TransformerConfig, inference: InferenceConfig, each: Pass) -> int:
    """Return the operations of a pass; of attention torch's counter sees those of the plain kernel only."""
    with torch.device("meta"):
        model = WorldActionModel(config)
        rollout = meta_rollout(model, inference, each.num_observed)
        rollout.cache.append_imagined(each.num_imagined)
        rows = next(shape[0] for shape in (each.video, each.action) if shape is not None)
        text = rollout.conditional if rows == 1 else rollout.text
        streams = [None if shape is None else meta_input(config, shape) for shape in (each.video, each.action)]
        with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
            model(*streams, text, CachedAttention(rollout.cache))
    return counter.get_total_flops()


def meta_rollout(model: WorldActionModel, inference: InferenceConfig, history: int) -> Rollout:
    config = model.config
    cache = KVCache(
        num_layers=config.num_layers,
        batch=2,
        num_heads=config.num_heads,
        head_dim=config.head_dim,
        window=inference.window,
        video_tokens=config.video_tokens,
        action_tokens=config.actions_per_latent_frame,
        scratch_frames=inference.latent_frames_per_chunk,
        device=torch.device("meta"),
    )
    cache.num_observed = history
    return Rollout(cache=cache, text=meta_text(model, 2), conditional=meta_text(model, 1), generator=torch.Generator())


def meta_text(model: WorldActionModel, rows: int) -> TextContext:
    with torch.device("meta"):
        tokens, bias = torch.empty(rows, WORDS + 1, model.config.text_dim), torch.empty(rows, 1, 1, WORDS + 1)
        return TextContext(
            *(stream.read_text(TextTokens(tokens, bias)) for stream in (model.video, model.action_layers))
        )


def meta_input(config: TransformerConfig, shape: torch.Size) -> StreamInput:
    table = torch.empty(shape[1], shape[2], config.head_dim // 2, dtype=torch.complex64)
    return StreamInput(values=torch.empty(shape), flow_time=torch.empty(shape[0], 1), rotary=RotaryTable(table))


class Fetching(TorchFunctionMode):
    """While active, fetching numbers from the device fails, or gives zeros where that is allowed."""

    NAMES = ("cpu", "item", "tolist", "numpy", "nonzero", "__bool__", "__int__", "__float__", "__index__")

    def __init__(self, *, allowed: bool):
        super().__init__()
        self._allowed = allowed

    def __torch_function__(self, func, types, args=(), kwargs=None):
        name = getattr(func, "__name__", "")
        if name in self.NAMES and isinstance(args[0], Tensor) and args[0].is_meta:
            assert self._allowed and name == "cpu", f"Tensor.{name} waits for the device"
            return torch.zeros(args[0].shape)
        return func(*args, **(kwargs or {}))


class Waiting(TorchDispatchMode):
    """While active, operations fail that make the host wait for the device, or whose shape depends on numbers."""

    NAMES = ("nonzero", "_local_scalar_dense", "item", "masked_select", "unique", "_unique2", "equal", "is_nonzero")

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = func.overloadpacket.__name__
        assert name not in self.NAMES, f"{func} waits for the device"
        if name in ("index", "index_put", "index_put_"):
            assert not any(i is not None and i.dtype in (torch.bool, torch.uint8) for i in args[1]), f"{func} by a mask"
        return func(*args, **(kwargs or {}))


class DuringSteps(ExitStack):
    """Enters modes at the network's first call and leaves them at its last: the steps and all between them."""

    def __init__(self, model: nn.Module, num_calls: int, *modes):
        super().__init__()
        self._forward, self._num_calls, self._modes = model.forward, num_calls, modes
        self.calls = 0
        model.forward = self  # type: ignore[method-assign]

    def __call__(self, *args, **kwargs):
        self.calls += 1
        if self.calls == 1:
            for mode in self._modes:
                self.enter_context(mode)
        velocities = self._forward(*args, **kwargs)
        if self.calls == self._num_calls:
            self.close()
        return velocities


def text_layers(model: WorldActionModel) -> list[nn.Module]:
    last = ("text_in", "text_out", "text.to_k", "text.to_v")
    return [module for name, module in model.named_modules() if name.endswith(last)]


def count_calls(modules: list[nn.Module]) -> Callable[[], int]:
    calls: list[nn.Module] = []
    for module in modules:
        module.register_forward_hook(lambda module, *_: calls.append(module))
    return lambda: len(calls)


@pytest.mark.parametrize("guidance", [1.0, 3.0])
def test_no_step_reads_the_instruction_anew(tiny, guidance):
    model = tiny.model()
    calls = count_calls(text_layers(model))
    predictor = Predictor(model, tiny.inference(video_guidance=guidance), torch.ones(30, dtype=torch.bool))
    words = TextEmbedding(torch.randn(1, 3, 8), torch.tensor([3]))
    rollout = predictor.start(words, words, seed=0)
    read = calls()
    assert read >= len(text_layers(model))
    predictor.append_observed(rollout, torch.randn(4, 1, 4, 4), torch.randn(1, 4, 30))
    predictor.predict(rollout)
    assert calls() == read


@pytest.mark.parametrize("first_frame", ["history", "chunk"])
@pytest.mark.parametrize("guidance", [1.0, 3.0])
def test_the_host_never_waits_between_the_first_step_and_the_last(tiny, guidance, first_frame):
    inference = tiny.inference(video_guidance=guidance, first_frame=first_frame)
    model = tiny.model()
    predictor = Predictor(model, inference, torch.ones(30, dtype=torch.bool))
    words = TextEmbedding(torch.randn(1, 3, 8), torch.tensor([3]))
    rollout = predictor.start(words, words, seed=0)
    predictor.append_observed(rollout, torch.randn(4, 1, 4, 4), torch.randn(1, 4, 30))
    num_calls = inference.video_steps + 1 + inference.action_steps
    with DuringSteps(model, num_calls, Waiting()) as watched:
        predictor.predict(rollout)
    assert watched.calls == num_calls


def test_nothing_is_fetched_from_the_device_between_the_first_step_and_the_last(tiny):
    """On the meta device there is nothing to fetch, and every fetch is seen."""
    inference = tiny.inference(video_guidance=3.0)
    with torch.device("meta"):
        model = WorldActionModel(tiny.sizes())
    rollout = meta_rollout(model, inference, history=1)
    predictor = Predictor(model, inference, torch.ones(30, dtype=torch.bool))
    num_calls = inference.video_steps + 1 + inference.action_steps
    modes = Fetching(allowed=False), Waiting()
    with Fetching(allowed=True), DuringSteps(model, num_calls, *modes) as watched:  # the finished chunk is fetched
        predictor.predict(rollout)
    assert watched.calls == num_calls


@pytest.mark.parametrize("work", [lambda x: x[x > 0], lambda x: x.sum().item(), lambda x: x.nonzero()])
def test_the_watch_sees_what_waits(work):
    with pytest.raises(AssertionError, match=r"waits|mask"), Waiting():
        work(torch.ones(3))


def test_the_watch_sees_what_fetches():
    with pytest.raises(AssertionError, match="waits"), Fetching(allowed=False):
        torch.ones(3, device="meta").cpu()


@pytest.mark.parametrize("history", [0, 30])
def test_an_action_step_of_its_own_stream_costs_at_most_a_third_of_a_shared_one(history):
    own, shared = (get_recipe(name) for name in ("wan5b", "wan5b-shared"))
    past, frames = Past(history_frames=history, text_tokens=21), own.inference.latent_frames_per_chunk
    costs = [action_step(recipe.transformer, past, rows=1, frames=frames) for recipe in (own, shared)]
    assert 3 * costs[0].floor_ms <= costs[1].floor_ms


def test_the_quick_gelu_is_torchs_own():
    x = torch.linspace(-30, 30, 10_001)
    plain = nn.functional.gelu(x, approximate="tanh")
    with torch.no_grad():
        torch.testing.assert_close(gelu(x.clone()), plain, atol=1e-6, rtol=1e-6)
    again = x.clone()
    torch.testing.assert_close(gelu(again), plain)
    torch.testing.assert_close(again, x, msg="what may need gradients is left as it is")
