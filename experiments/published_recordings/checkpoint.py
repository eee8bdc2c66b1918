"""Tiny random weights in the layout in which LingBot-VA's are published, written by diffusers and transformers."""

import shutil
from pathlib import Path

import torch
from diffusers import AutoencoderKLWan
from lerobot.policies.lingbot_va.utils import WanTransformer3DModel
from transformers import UMT5Config, UMT5EncoderModel
from wanted import NUM_CHANNELS, Wanted

TOKENIZER = Path(__file__).parents[2] / "tests" / "golden" / "side_by_side" / "tokenizer"
LATENT_CHANNELS = 48
"""The program has this number in its code."""
VOCABULARY = 200
"""Of the tokenizer."""
TEXT_GAIN = 20.0
"""Makes words count beside the zeros that prompts are padded with, and so guidance."""
NOISE = 0.15
"""Standard deviation added to every weight: none is left at zero or one, so every term counts."""


def write_checkpoint(folder: Path, wanted: Wanted) -> None:
    """Write `transformer/ vae/ text_encoder/ tokenizer/`."""
    torch.manual_seed(wanted.seed)
    for name, build in (("transformer", _transformer), ("vae", _vae), ("text_encoder", _text_encoder)):
        network = build(wanted)
        with torch.no_grad():
            for weight in network.parameters():
                weight.add_(torch.randn_like(weight), alpha=NOISE)
        network.save_pretrained(folder / name)
    shutil.copytree(TOKENIZER, folder / "tokenizer", dirs_exist_ok=True)


def _transformer(wanted: Wanted) -> torch.nn.Module:
    return WanTransformer3DModel(
        num_attention_heads=wanted.num_heads,
        attention_head_dim=wanted.head_dim,
        in_channels=LATENT_CHANNELS,
        out_channels=LATENT_CHANNELS,
        action_dim=NUM_CHANNELS,
        text_dim=wanted.text_dim,
        freq_dim=32,
        ffn_dim=2 * wanted.num_heads * wanted.head_dim,
        num_layers=wanted.num_layers,
    )


def _vae(wanted: Wanted) -> torch.nn.Module:
    numbers = torch.arange(LATENT_CHANNELS)
    return AutoencoderKLWan(
        base_dim=wanted.vae_dim,
        decoder_base_dim=wanted.vae_dim,
        z_dim=LATENT_CHANNELS,
        dim_mult=[1, 1, 1, 1],
        num_res_blocks=1,
        attn_scales=[],
        temperal_downsample=[False, True, True],
        is_residual=True,
        in_channels=12,
        out_channels=12,
        patch_size=2,
        scale_factor_spatial=16,
        scale_factor_temporal=4,
        latents_mean=[round(x, 2) for x in (0.1 * torch.sin(numbers)).tolist()],
        latents_std=[round(x, 2) for x in (0.6 + 0.2 * torch.cos(numbers)).tolist()],
    )


def _text_encoder(wanted: Wanted) -> torch.nn.Module:
    config = UMT5Config(
        vocab_size=VOCABULARY,
        d_model=wanted.text_dim,
        d_kv=4,
        d_ff=2 * wanted.text_dim,
        num_layers=1,
        num_heads=2,
    )
    encoder = UMT5EncoderModel(config)
    with torch.no_grad():
        encoder.encoder.final_layer_norm.weight.mul_(TEXT_GAIN)
    return encoder
