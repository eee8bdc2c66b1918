"""Do we compute what the published program computes? Recordings of it, made with LeRobot's port.

In an environment with LeRobot (not ours; nothing here imports foreact):

    python experiments/published_recordings/record.py calibrate tests/golden/side_by_side tests/golden/t_shape
    python experiments/published_recordings/record.py make tests/golden
    python experiments/published_recordings/record.py table outputs/verify/*.json

`calibrate` runs the port on recordings that there are and prints how far each tensor is from what is recorded;
`make` records the rollouts of `wanted.py`; `table` prints what `foreact verify --json` found.
"""

import argparse
import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from checkpoint import LATENT_CHANNELS, write_checkpoint
from port import Port
from safetensors.torch import load_file, save_file
from torch import Tensor
from wanted import NUM_CHANNELS, WANTED, Wanted

VAE_FACTOR = 4
"""Camera frames per latent frame."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("command", choices=("calibrate", "make", "table"))
    parser.add_argument("paths", nargs="+", type=Path, help="recordings; where to make them; files of `foreact verify`")
    parser.add_argument("--only", nargs="*", help="names of the recordings to make")
    args = parser.parse_args()
    torch.set_num_threads(1)
    if args.command == "calibrate":
        print_table({folder.name: dict(compare(folder)) for folder in args.paths})
    elif args.command == "table":
        print_table({path.stem: json.loads(path.read_text())["errors"] for path in args.paths})
    else:
        for wanted in WANTED:
            if not args.only or wanted.name in args.only:
                record(args.paths[0] / wanted.name, wanted)


def record(folder: Path, wanted: Wanted) -> None:
    """Write the weights, the settings and everything a rollout of the port gives."""
    write_checkpoint(folder, wanted)
    low, high = wanted.quantiles()
    settings = {**wanted.settings, "q01": low, "q99": high}
    given = dict(draw_inputs(wanted, settings))
    port = Port(folder, settings)
    made = roll_out(port, settings, given, wanted.perturbation)
    save_file({name: tensor.contiguous() for name, tensor in (given | made).items()}, folder / "trace.safetensors")
    (folder / "trace.json").write_text(json.dumps(settings | port.sigmas, indent=1) + "\n")
    print(folder, sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) // 1000, "kB")


def compare(folder: Path) -> Iterator[tuple[str, float]]:
    """Yield the relative error of every tensor that the port makes from a recording's weights, frames and noise."""
    settings = json.loads((folder / "trace.json").read_text())
    recorded = load_file(folder / "trace.safetensors")
    port = Port(folder, settings)
    made = roll_out(port, settings, recorded, perturbation=0.0)
    sigmas = {name: torch.tensor(values) for name, values in port.sigmas.items()}
    for name, tensor in (sigmas | made).items():
        reference = torch.tensor(settings[name]) if name in sigmas else recorded[name]
        yield name, float((tensor - reference).norm() / reference.norm().clamp(min=1e-12))


def roll_out(port: Port, settings: Mapping[str, Any], given: Mapping[str, Tensor], perturbation: float) -> dict:
    """Return every tensor that the port makes; where `given` says what was executed, that is fed back."""

    def frames(moment: str) -> dict[str, Tensor]:
        return {camera: given[f"frames.{moment}.{camera}"] for camera in settings["cameras"]}

    made = port.start(frames("init"))
    for number in range(settings["chunks"]):
        chunk = f"chunk{number}"
        outputs = port.predict({kind: given[f"{chunk}.noise.{kind}"] for kind in ("video", "action")})
        made["init_latent"] = port.init_latent
        made |= {f"{chunk}.{name}": tensor for name, tensor in outputs.items()}
        executed = given.get(f"{chunk}.state_fed_back")
        if executed is None:
            executed = outputs["actions"].clone()
            known = 1 if number == 0 else 0  # the first latent frame's actions are no prediction
            executed[:, known:] += perturbation * torch.randn_like(executed[:, known:])
            made[f"{chunk}.state_fed_back"] = executed
        port.observe(frames(chunk), executed)
    return made


def draw_inputs(wanted: Wanted, settings: Mapping[str, Any]) -> Iterator[tuple[str, Tensor]]:
    """Yield frames and noise."""
    per_chunk, per_frame = settings["latent_frames_per_chunk"], settings["actions_per_latent_frame"]
    rows, columns = settings["height"] // 16, settings["width"] // 16
    canvas = (
        (3 * rows // 2, columns)
        if settings["camera_layout"] == "t_shape"
        else (rows, columns * len(settings["cameras"]))
    )
    for camera, size in zip(settings["cameras"], wanted.picture_sizes, strict=True):
        yield f"frames.init.{camera}", _pictures(1, size)
    for number in range(settings["chunks"]):
        num_frames = VAE_FACTOR * (per_chunk - (number == 0))
        for camera, size in zip(settings["cameras"], wanted.picture_sizes, strict=True):
            yield f"frames.chunk{number}.{camera}", _pictures(num_frames, size)
        yield f"chunk{number}.noise.video", torch.randn(1, LATENT_CHANNELS, per_chunk, *canvas)
        yield f"chunk{number}.noise.action", torch.randn(1, NUM_CHANNELS, per_chunk, per_frame, 1)


def _pictures(num_frames: int, size: tuple[int, int]) -> Tensor:
    """Return coarse coloured blotches, a little grain, and another brightness in every frame."""
    coarse = torch.rand(num_frames, 3, 4, 4)
    blotches = torch.nn.functional.interpolate(coarse, size, mode="bicubic").movedim(1, -1)
    grain = 0.1 * torch.randn(num_frames, *size, 3)
    return (255 * (blotches + grain)).clamp(0, 255).to(torch.uint8)


def print_table(errors: Mapping[str, Mapping[str, float]]) -> None:
    """Print relative errors as a table: a row a tensor, the worst of all chunks; a column a recording."""
    worst: dict[str, dict[str, float]] = {}
    for recording, column in errors.items():
        for name, error in column.items():
            row = worst.setdefault(re.sub(r"^chunk\d+", "chunk*", name), {})
            row[recording] = max(error, row.get(recording, 0.0))
    print("| tensor | " + " | ".join(errors) + " |")
    print("|---" * (len(errors) + 1) + "|")
    for name, row in worst.items():
        print(f"| {name} | " + " | ".join(f"{row[recording]:.1e}" for recording in errors) + " |")


if __name__ == "__main__":
    main()
