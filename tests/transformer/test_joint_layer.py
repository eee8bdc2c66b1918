"""A joint layer as a unit: called with plain tensors alone, so that weights can be sharded layer by layer."""

import os
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import Tensor

from foreact.transformer.attention import training_attention
from foreact.transformer.initialization import initialize
from foreact.transformer.masks import ChunkLayout
from foreact.transformer.model import TransformerConfig, WorldActionModel, held_name, stored_name
from foreact.transformer.tokens import StreamInput

WORLD = 2
SHARED = {"backbone": "shared", "action_width": 24, "action_ffn_dim": 32, "action_embedding": "linear"}
LAYOUT = ChunkLayout(num_frames=4, frames_per_chunk=2, window=3)


def forward(model: WorldActionModel, samples: slice, recompute: bool) -> Tensor:
    """The summed error of some of four made-up sequences."""
    generator, config = torch.Generator().manual_seed(1), model.config
    inputs = []
    for frames, tokens, features, rotary in (
        (LAYOUT.video_frames, config.video_tokens, config.patch_features, model.video_rotary),
        (LAYOUT.action_frames, config.actions_per_latent_frame, config.action_channels, model.action_rotary),
    ):
        values = torch.randn(4, len(frames), tokens, features, generator=generator)[samples]
        flow_time = torch.rand(4, len(frames), generator=generator)[samples]
        inputs.append(StreamInput(values=values, flow_time=flow_time, rotary=rotary(frames)))
    words = torch.randn(4, 5, config.text_dim, generator=generator)[samples]
    text = model.prepare_text(words, torch.tensor([5, 3, 4, 1])[samples])
    attention = training_attention(LAYOUT, torch.device("cpu"))
    outs = model(*inputs, text, attention, recompute=recompute, num_wanted=(3, 3))
    return sum(out.square().sum() for out in outs)


def new_model(config: TransformerConfig) -> WorldActionModel:
    model = WorldActionModel(config)
    initialize(model, seed=0)
    return model


def sharded_gradients(rank: int, folder: str, config: TransformerConfig, recompute: bool) -> None:
    """One process of two: half of the sequences, a shard of every layer; rank 0 writes the whole gradients."""
    from torch.distributed.fsdp import fully_shard

    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=WORLD)
    model = new_model(config)
    for layer in model.layers:
        fully_shard(layer)
    fully_shard(model)
    forward(model, slice(2 * rank, 2 * rank + 2), recompute).backward()
    gradients = {
        name: weight.grad.full_tensor() * WORLD  # sharding takes the mean over the processes
        for name, weight in model.state_dict(keep_vars=True).items()
        if weight.grad is not None
    }
    if rank == 0:
        torch.save(gradients, Path(folder) / "gradients.pt")
    dist.destroy_process_group()


@pytest.mark.slow
@pytest.mark.skipif(not dist.is_available() or not dist.is_gloo_available(), reason="needs gloo")
@pytest.mark.parametrize("recompute", [False, True], ids=["kept", "recomputed"])
@pytest.mark.parametrize("backbone", [{}, SHARED], ids=["separate", "shared"])
def test_layers_sharded_over_two_processes_have_the_same_gradients(tiny, tmp_path, backbone, recompute) -> None:
    config = tiny.sizes(**backbone)
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    mp.spawn(sharded_gradients, args=(str(tmp_path), config, recompute), nprocs=WORLD)
    sharded = torch.load(tmp_path / "gradients.pt")
    model = new_model(config)
    forward(model, slice(0, 4), recompute).backward()
    whole = {name: w.grad for name, w in model.state_dict(keep_vars=True).items() if w.grad is not None}
    assert sharded.keys() == whole.keys() and len(whole) > 50
    scale = max(gradient.abs().max() for gradient in whole.values())
    for name, gradient in whole.items():
        torch.testing.assert_close(sharded[name], gradient, atol=1e-6 * float(scale), rtol=1e-5, msg=name)


def test_weights_are_stored_by_stream_and_held_by_layer(tiny) -> None:
    model = tiny.model()
    stored, held = list(model.state_dict()), dict(model.named_parameters())
    assert {held_name(name) for name in stored} == held.keys()
    assert [stored_name(held_name(name)) for name in stored] == stored
    name = "action.blocks.1.joint.to_q.weight"
    assert model.get_parameter(name) is held["layers.1.action.joint.to_q.weight"]
    streams = [name.split(".")[0] for name in stored]
    assert streams == sorted(streams, reverse=True), "the video stream, then the action stream"


@pytest.mark.parametrize("backbone", [{}, SHARED], ids=["separate", "shared"])
def test_weights_come_back_under_their_stored_names(tiny, backbone) -> None:
    class Around(torch.nn.Module):
        def __init__(self, model: WorldActionModel):
            super().__init__()
            self.model = model

    source, target = (Around(new_model(tiny.sizes(**backbone))) for _ in range(2))
    weights = {name: torch.randn_like(value) for name, value in source.state_dict().items()}
    assert all(name.startswith(("model.video.", "model.action.")) for name in weights)
    target.load_state_dict(weights)
    assert all(torch.equal(value, weights[name]) for name, value in target.state_dict().items())


@torch.no_grad()
def test_text_read_in_the_layers_is_text_read_beforehand(tiny) -> None:
    model = tiny.model()
    words, lengths = torch.randn(2, 5, model.config.text_dim), torch.tensor([5, 2])
    frames = torch.arange(2)
    video = StreamInput(
        values=torch.randn(2, 2, model.config.video_tokens, model.config.patch_features),
        flow_time=torch.rand(2, 2),
        rotary=model.video_rotary(frames),
    )

    def alone(layer: int, video, action):
        return video.values.flatten(3), None

    beforehand, _ = model(video, None, model.read_text(words, lengths), alone)
    in_layers, nothing = model(video, None, model.prepare_text(words, lengths), alone)
    assert nothing is None
    assert torch.equal(beforehand, in_layers)
