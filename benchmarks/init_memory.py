"""What `foreact init` needs: its peak memory at full width, against 1.3 times the largest shard plus 2 GB.

A random Wan2.2 transformer of full width and few layers is written in shards, then a separate process makes the
Mixture-of-Transformers from it.

    python benchmarks/init_memory.py [--layers 3] [--shard-mb 600] [--dtype float32]
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch
from diffusers import WanTransformer3DModel

from foreact.commands.init import initialize_from
from foreact.shards import ShardWriter, TensorFolder
from foreact.transformer.model import TransformerConfig

GB = 1e9
STEM = "diffusion_pytorch_model"


def peak_bytes() -> int:
    """Return the largest resident size this process has had; not ru_maxrss, which begins with the parent's."""
    return int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0]) * 1024


def write_wan(folder: Path, num_layers: int, dtype: torch.dtype, shard_bytes: int) -> TensorFolder:
    """Write a random transformer of Wan2.2's full width, and return it."""
    with torch.device("meta"):
        wan = WanTransformer3DModel(
            num_attention_heads=24,
            attention_head_dim=128,
            in_channels=48,
            out_channels=48,
            ffn_dim=14336,
            num_layers=num_layers,
            cross_attn_norm=True,
        )
    with ShardWriter(folder, STEM, shard_bytes) as writer:
        for name, value in wan.state_dict().items():
            writer.add(name, torch.randn(value.shape, dtype=dtype) * 0.02)
    wan.save_config(folder)
    return TensorFolder.open(folder)


def run_init(given: argparse.Namespace) -> None:
    """Make the network in this process and print what it took, as JSON."""
    before, start = peak_bytes(), time.perf_counter()
    config = TransformerConfig(num_layers=given.layers)
    dtype = getattr(torch, given.dtype)
    initialize_from(config, given.source, given.out, dtype=dtype, max_shard_bytes=int(given.shard_mb * 1e6))
    print(json.dumps({"before": before, "peak": peak_bytes(), "seconds": time.perf_counter() - start}))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--layers", type=int, default=3)
    parser.add_argument("--shard-mb", type=float, default=600)
    parser.add_argument("--dtype", default="float32", choices=["float32", "bfloat16"])
    parser.add_argument("--folder", type=Path, help="for the files; a temporary one by default")
    parser.add_argument("--source", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--out", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.source is not None:
        run_init(given)
        return
    with tempfile.TemporaryDirectory(dir=given.folder) as name:
        folder = Path(name)
        source = write_wan(folder / "wan", given.layers, getattr(torch, given.dtype), int(given.shard_mb * 1e6))
        paths = ["--source", str(folder / "wan"), "--out", str(folder / "new")]
        done = subprocess.run([sys.executable, *sys.argv, *paths], stdout=subprocess.PIPE, text=True, check=True)
        spent = json.loads(done.stdout.splitlines()[-1])
        new = TensorFolder.open(folder / "new", stem="model")
    largest = max(source.largest_shard_bytes, new.largest_shard_bytes)
    rows = {
        "source": source.num_bytes,
        "new network": new.num_bytes,
        "largest shard": largest,
        "memory after imports": spent["before"],
        "peak memory": spent["peak"],
        "bound: 1.3 largest shard + 2 GB": 1.3 * largest + 2 * GB,
    }
    print(f"{given.layers} layers of full width, {given.dtype}, {spent['seconds']:.0f} s")
    for label, size in rows.items():
        print(f"{label:32} {size / GB:6.2f} GB")
    if spent["peak"] > rows["bound: 1.3 largest shard + 2 GB"]:
        raise SystemExit("the peak is above the bound")


if __name__ == "__main__":
    main()
