"""A chunk of the full-size network, stage by stage, against the roofline's floor: random weights, a full window.

Weights, keys and pictures are random: time depends on none of them. The floor of a stage is the longer of computing
and moving, at the ceilings of this very machine, measured in the same run: a large matrix product and a large copy.

    python benchmarks/full_size.py --preset wan5b                      # on CUDA, bfloat16, as RoboTwin is run
    python benchmarks/full_size.py --device cpu --layers 2 --window 4 --video-steps 1 --action-steps 2   # anywhere
"""

import argparse
import json
import resource
import statistics
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch
from diffusers import AutoencoderKLWan

from foreact.codecs.text import TextEmbedding
from foreact.codecs.video_vae import VideoVAE
from foreact.description.accelerator import Accelerator, Cost
from foreact.description.passes import ChunkCost, Past, chunk_cost
from foreact.description.subject import Subject, subject_of_recipe
from foreact.description.video_vae import describe_video_vae
from foreact.policy.predictor import Predictor
from foreact.recipes import get_recipe
from foreact.trace import Trace
from foreact.transformer.model import WorldActionModel

WARM_UP = 1
"""Chunks before counting."""


def synchronize(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def fastest_s(work: Callable[[], object], device: torch.device, repeats: int = 5) -> float:
    """Return the least time of several runs, seconds."""
    times = []
    for _ in range(repeats + 1):
        synchronize(device)
        start = time.perf_counter()
        work()
        synchronize(device)
        times.append(time.perf_counter() - start)
    return min(times[1:])


def measure_ceilings(device: torch.device, dtype: torch.dtype) -> Accelerator:
    """Return how fast this machine multiplies large matrices and copies memory."""
    size = 8192 if device.type == "cuda" else 1536
    a = torch.randn(size, size, device=device, dtype=dtype)
    product_s = fastest_s(lambda: a @ a, device)
    numbers = torch.zeros((1 << 30) if device.type == "cuda" else (1 << 27), device=device, dtype=torch.uint8)
    target = torch.empty_like(numbers)
    copy_s = fastest_s(lambda: target.copy_(numbers), device)
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else f"CPU, {torch.get_num_threads()} threads"
    return Accelerator(name=name, flops_per_s=2 * size**3 / product_s, bytes_per_s=2 * len(numbers) / copy_s)


def random_weights(module: torch.nn.Module, device: torch.device, dtype: torch.dtype) -> torch.nn.Module:
    """Fill a network that was made on the meta device."""
    module.to_empty(device=device).to(dtype)
    for name, parameter in module.named_parameters():
        torch.nn.init.ones_(parameter) if name.endswith("norm.weight") else torch.nn.init.normal_(parameter, std=0.02)
    return module.eval()


def build(subject: Subject, device: torch.device, dtype: torch.dtype) -> tuple[Predictor, VideoVAE]:
    with torch.device("meta"):
        model, autoencoder = (
            WorldActionModel(subject.transformer),
            AutoencoderKLWan.from_config(dict(subject.video_vae)),
        )
    random_weights(model, device, dtype)
    vae = VideoVAE(random_weights(autoencoder, device, dtype))  # type: ignore[arg-type]
    mask = torch.from_numpy(subject.embodiment.channel_mask.copy())
    return Predictor(model, replace(subject.inference, first_frame="history"), mask), vae


@torch.no_grad()
def run_chunks(predictor: Predictor, vae: VideoVAE, subject: Subject, num_chunks: int) -> dict[str, float]:
    """Return the median milliseconds of each stage of a chunk, behind a full window."""
    config, sizes, device = predictor.config, predictor.model.config, predictor.device
    tokens = torch.randn(1, sizes.text_length or 20, sizes.text_dim)
    embedding = TextEmbedding(tokens, torch.tensor([20]))
    rollout = predictor.start(embedding, embedding, seed=0)
    rollout.trace = Trace(lambda: synchronize(device))
    rollout.cache.num_observed = config.window  # as if they had been observed: zero keys cost as much as any
    frames = config.latent_frames_per_chunk
    streams = {camera: vae.start_stream() for camera in subject.layout.cameras}
    pictures = {
        camera: torch.randn(1, 3, 1 + frames * vae.temporal_factor, *size, device=device)
        for camera, size in zip(subject.layout.cameras, subject.layout.picture_sizes, strict=True)
    }
    for camera, stream in streams.items():
        stream.encode(pictures[camera][:, :, :1])
    actions = torch.zeros(frames, sizes.actions_per_latent_frame, sizes.action_channels)
    spent = []
    for _ in range(WARM_UP + num_chunks):
        with rollout.trace.span("encode"):
            latents = [stream.encode(pictures[camera][:, :, 1:])[0] for camera, stream in streams.items()]
        predictor.append_observed(rollout, subject.layout.assemble(latents), actions)
        predictor.predict(rollout)
        spent.append(rollout.trace.take())
    return {stage: statistics.median(chunk[stage] for chunk in spent[WARM_UP:]) for stage in spent[0]}


def costs(subject: Subject) -> ChunkCost:
    frames = subject.inference.latent_frames_per_chunk
    encode = describe_video_vae(subject.video_vae, subject.layout, frames).encode
    past = Past(history_frames=subject.inference.window, text_tokens=subject.text_tokens)
    return chunk_cost(subject.transformer, subject.inference, past, encode)


def floor_ms(cost: Cost, ceilings: Accelerator, dtype: torch.dtype) -> float:
    moved = cost.num_bytes * dtype.itemsize / torch.bfloat16.itemsize
    return 1e3 * max(cost.flops / ceilings.flops_per_s, moved / ceilings.bytes_per_s)


def peak_bytes(device: torch.device) -> float:
    if device.type == "cuda":
        return float(torch.cuda.max_memory_allocated(device))
    return 1024.0 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--preset", default="wan5b")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--dtype", choices=("bfloat16", "float32"), help="bfloat16 on CUDA, float32 elsewhere")
    parser.add_argument("--chunks", type=int, default=3, help="counted; one more comes before them")
    parser.add_argument("--layers", type=int, help="of the network, for machines that cannot hold it")
    parser.add_argument("--window", type=int, help="latent frames of history")
    parser.add_argument("--video-steps", type=int)
    parser.add_argument("--action-steps", type=int)
    parser.add_argument("--video-guidance", type=float)
    parser.add_argument("--out", type=Path, help="JSON file for the figures")
    given = parser.parse_args()
    device = torch.device(given.device)
    dtype = getattr(torch, given.dtype or ("bfloat16" if device.type == "cuda" else "float32"))

    subject = subject_of_recipe(given.preset, get_recipe(given.preset))
    names = ("window", "video_steps", "action_steps", "video_guidance")
    changes = {name: getattr(given, name) for name in names if getattr(given, name) is not None}
    layers = given.layers or subject.transformer.num_layers
    subject = replace(
        subject,
        transformer=replace(subject.transformer, num_layers=layers),
        inference=replace(subject.inference, **changes),
    )
    ceilings, cost = measure_ceilings(device, dtype), costs(subject)
    measured = run_chunks(*build(subject, device, dtype), subject, given.chunks)
    steps = subject.inference
    stages = {
        "encode": cost.encode,
        "append": cost.append,
        "imagine": cost.imagine,
        "decode_actions": cost.decode_actions,
    }
    table = {stage: {"ms": measured[stage], "floor_ms": floor_ms(stages[stage], ceilings, dtype)} for stage in stages}
    table["chunk"] = {key: sum(row[key] for row in table.values()) for key in ("ms", "floor_ms")}
    print(f"{given.preset}, {layers} layers, {dtype}, {steps.window} latent frames of history, {ceilings.name}")
    print(f"{steps.video_steps} video steps (guidance {steps.video_guidance:g}), {steps.action_steps} action steps")
    print(f"ceilings: {ceilings.flops_per_s / 1e12:.3g} TFLOP/s, {ceilings.bytes_per_s / 1e9:.3g} GB/s")
    print(f"{'stage':16s}{'ms':>10s}{'floor ms':>10s}{'share of floor':>16s}")
    for stage, row in table.items():
        row["share"] = row["floor_ms"] / row["ms"]
        print(f"{stage:16s}{row['ms']:10.1f}{row['floor_ms']:10.1f}{row['share']:16.0%}")
    peak = peak_bytes(device)
    print(f"peak memory {peak / 1e9:.1f} GB")
    if given.out:
        figures = {
            "stages": table,
            "ceilings": vars(ceilings),
            "peak_bytes": peak,
            "settings": vars(given) | {"out": None},
        }
        given.out.write_text(json.dumps(figures, indent=1) + "\n")


if __name__ == "__main__":
    main()
