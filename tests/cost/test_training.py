"""Training's formulas against what the real network keeps and computes."""

import pytest
import torch
import torch.nn.functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from foreact.cost.parameters import count_network
from foreact.cost.training import (
    METHODS,
    activation_bytes,
    forward_flops,
    longest_layout,
    train_memory,
)
from foreact.training.step import BatchConfig
from foreact.transformer.attention import ChunkedAttention, JointAttention, PackedAttention
from foreact.transformer.masks import ChunkLayout
from foreact.transformer.model import WorldActionModel
from foreact.transformer.tokens import StreamInput


class UnmaskedAttention(PackedAttention):
    """Keeps what flex attention keeps for the backward pass, which cannot run on a CPU."""

    def _make_mask(self, video_tokens: int, action_tokens: int, *, device: torch.device) -> bool:
        return True

    def _attend(self, queries: torch.Tensor, keys: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
        return F.scaled_dot_product_attention(queries, keys, values)


def forward(model: WorldActionModel, layout: ChunkLayout, batch: int, text, attention: JointAttention) -> None:
    config = model.config
    inputs = []
    for frames, tokens, features, rotary in (
        (layout.video_frames, config.video_tokens, config.patch_features, model.video_rotary),
        (layout.action_frames, config.actions_per_latent_frame, config.action_channels, model.action_rotary),
    ):
        values, times = torch.randn(batch, len(frames), tokens, features), torch.rand(batch, len(frames))
        inputs.append(StreamInput(values=values, flow_time=times, rotary=rotary(frames)))
    model(*inputs, text, attention)


def instruction(model: WorldActionModel, batch: int):
    return model.read_text(torch.zeros(batch, 3, model.config.text_dim), torch.full((batch,), 3))


class KeptBytes(torch.autograd.graph.saved_tensors_hooks):
    """Bytes of everything autograd keeps, the weights apart."""

    def __init__(self, model: torch.nn.Module):
        super().__init__(self.keep, lambda tensor: tensor)
        self.tensors: list[torch.Tensor] = []
        self.weights = {parameter.untyped_storage().data_ptr() for parameter in model.parameters()}

    def keep(self, tensor: torch.Tensor) -> torch.Tensor:
        self.tensors.append(tensor)  # kept alive, so that no address is used twice
        return tensor

    def total(self) -> int:
        storages = {tensor.untyped_storage().data_ptr(): tensor.untyped_storage().nbytes() for tensor in self.tensors}
        return sum(size for address, size in storages.items() if address not in self.weights)


def kept_per_layer(tiny, sizes: dict, batch: BatchConfig, autocast: bool) -> int:
    """What one layer more makes autograd keep; the copies of its weights that autocast makes are counted apart."""
    layout, kept = longest_layout(batch, 1), []
    for num_layers in (1, 2):
        model = WorldActionModel(tiny.sizes(**sizes, num_layers=num_layers))
        hooks, attention = KeptBytes(model), UnmaskedAttention(layout)
        with hooks, torch.autocast("cpu", torch.bfloat16, enabled=autocast):
            forward(model, layout, batch.micro_batch, instruction(model, batch.micro_batch), attention)
        copies = 2 * count_network(model.config).layer_matrices if autocast else 0
        kept.append(hooks.total() - copies)
    return kept[1] - kept[0]


@pytest.mark.parametrize("sizes", [{"canvas": (8, 8)}, {"canvas": (4, 8), "video_width": 64, "video_ffn_dim": 200}])
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.filterwarnings("ignore:Mismatch dtype")
def test_what_a_layer_keeps_for_the_backward_pass(tiny, sizes, precision):
    batch = BatchConfig(micro_batch=2, max_frames=7, window=(2, 4))
    config = tiny.sizes(**sizes, num_layers=1)
    computed = activation_bytes(config, batch, precision, checkpointing=False)
    measured = kept_per_layer(tiny, sizes, batch, precision == "bfloat16")
    assert computed == pytest.approx(measured, rel=0.1)


def test_checkpointing_keeps_one_layer_and_the_tokens_between_layers(tiny):
    batch = BatchConfig(micro_batch=2, max_frames=7)
    one, many = tiny.sizes(num_layers=1), tiny.sizes(num_layers=50)
    layer = activation_bytes(one, batch, "float32", checkpointing=False)
    between = 2 * 13 * 4 * (4 * 24 + 4 * 16)
    assert activation_bytes(many, batch, "float32", checkpointing=False) == 50 * layer
    assert activation_bytes(many, batch, "float32", checkpointing=True) == layer + 50 * between


SHARED = {"backbone": "shared", "action_width": 24, "action_ffn_dim": 32, "action_embedding": "linear"}


def attention_flops(queries, keys, values, *_, **__) -> int:
    batch, heads, num_queries, head_dim = queries
    return 2 * 2 * batch * heads * num_queries * keys[2] * head_dim


@pytest.mark.parametrize(
    "sizes", [{}, SHARED, {"action_projection": "factorized"}], ids=["own", "shared", "factorized"]
)
@pytest.mark.parametrize("imagines", [True, False])
@pytest.mark.parametrize(("frames_per_chunk", "window"), [(1, 2), (3, 9)])
def test_a_forward_costs_what_torch_counts(tiny, sizes, imagines, frames_per_chunk, window):
    model = WorldActionModel(tiny.sizes(**sizes))
    layout = ChunkLayout(num_frames=6, frames_per_chunk=frames_per_chunk, window=window, imagines=imagines)
    joint_attention = {torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: attention_flops}
    with torch.no_grad(), sdpa_kernel(SDPBackend.MATH):
        text = instruction(model, 1)
        with FlopCounterMode(display=False, custom_mapping=joint_attention) as counter:
            forward(model, layout, 1, text, ChunkedAttention(layout))
    assert counter.get_total_flops() == forward_flops(model.config, layout, text_tokens=3)


def test_bytes_a_weight(tiny):
    """Full: weight, copy, gradient, two moments, average: 4 + 2 + 4 + 8 + 4."""
    parameters = count_network(tiny.sizes())
    made = {
        method: train_memory(method, checkpointing=False, precision="bfloat16", parameters=parameters, activations=7)
        for method in METHODS
    }
    assert made["full"].total == 22 * parameters.total + 7
    assert made["full, 8-bit"].total == 16 * parameters.total + 7
    assert made["LoRA"].total == 4 * parameters.lora_frozen + 22 * parameters.lora_trained + 7
    plain = train_memory("full", checkpointing=False, precision="float32", parameters=parameters, activations=0)
    assert plain.total == 20 * parameters.total
