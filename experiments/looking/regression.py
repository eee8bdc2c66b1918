"""How soon does a plain regression learn from the policy's own latents what the policy is to learn?

A small convolutional network reads the newest latent frame and the last action, and predicts the next 64 actions as
changes from that action. It imagines nothing, remembers nothing and is not the policy: it is a yardstick. It needs a
dataset that `foreact encode` has encoded, and prints its error on held-out episodes and, on request, its success.

    python experiments/looking/regression.py --data data/reach_cube --batch 64 --steps 900 --episodes 20
"""

import math
import time
from argparse import ArgumentParser, Namespace
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import foreact
from foreact.data.batch import TrainingSequence
from foreact.data.episodes import EpisodeDataset
from foreact.data.latents import LatentCache
from foreact.data.sequences import load_sequences
from foreact.policy.policy import Policy
from foreact.simulation.disturbances import Disturbance
from foreact.simulation.environment import BimanualEnv

FRAMES, EXECUTED_ACTIONS, HELD_OUT = 4, 32, 5


class Regression(nn.Module):
    """The newest latent frame and the last action, to the changes of the next actions."""

    def __init__(self, channels: int, side: int, num_dofs: int, num_actions: int):
        super().__init__()
        self.shape = (num_actions, num_dofs)
        self.see = nn.Sequential(
            nn.Conv2d(channels, 64, 3, padding=1), nn.GELU(), nn.Conv2d(64, 64, 3, padding=1), nn.GELU(), nn.Flatten()
        )
        widths = (64 * side * side + num_dofs, 512, 512)
        layers = [part for a, b in pairwise(widths) for part in (nn.Linear(a, b), nn.GELU())]
        self.decide = nn.Sequential(*layers, nn.Linear(widths[-1], num_actions * num_dofs))

    def forward(self, frame: Tensor, last_action: Tensor) -> Tensor:
        """Return actions [batch, actions, dofs] for latents [batch, channels, side, side]."""
        changes = self.decide(torch.cat([self.see(frame), last_action], dim=1))
        return last_action[:, None] + changes.unflatten(1, self.shape)


def pairs(sequences: list[TrainingSequence], mask: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return frames, last actions, next actions and which of these are valid: one pair a latent frame."""
    rows = []
    for sequence in sequences:
        for now in range(sequence.num_frames - 1):
            later = slice(now + 1, now + 1 + FRAMES)
            actions, valid = sequence.actions[later], sequence.action_valid[later]
            missing = FRAMES - len(actions)
            actions, valid = F.pad(actions, (0, 0, 0, 0, 0, missing)), F.pad(valid, (0, 0, 0, missing))
            last = sequence.executed[now, -1]
            rows.append((sequence.latents[:, now], last[mask], actions[..., mask].flatten(0, 1), valid.flatten()))
    frames, last, actions, valid = (torch.stack(column) for column in zip(*rows, strict=True))
    return frames, last, actions, valid


def errors(network: Regression, data: tuple[Tensor, ...]) -> tuple[float, float]:
    """Return (mean absolute, mean squared) error in model units."""
    frames, last, actions, valid = data
    with torch.no_grad():
        difference = (network(frames, last) - actions)[valid]
    return difference.abs().mean().item(), difference.square().mean().item()


def fit(data: tuple[Tensor, ...], given: Namespace) -> Regression:
    """Train on mean absolute error under a cosine schedule."""
    frames, last, actions, valid = data
    torch.manual_seed(0)
    network = Regression(frames.shape[1], frames.shape[2], actions.shape[2], actions.shape[1])
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-3, weight_decay=0.01)
    for step in range(given.steps):
        for group in optimizer.param_groups:
            group["lr"] = 1e-3 * 0.5 * (1 + math.cos(math.pi * step / given.steps))
        chosen = torch.randint(len(frames), (given.batch,))
        error = (network(frames[chosen], last[chosen]) - actions[chosen]).abs() * valid[chosen][..., None]
        optimizer.zero_grad()
        (error.sum() / valid[chosen].sum() / actions.shape[2]).backward()
        optimizer.step()
    return network


def succeeds(network: Regression, policy: Policy, task: str, disturbance: Disturbance, seed: int) -> bool:
    """Drive one episode, looking after every 32 actions; the policy only encodes what is seen."""
    codec, mask = policy.codec, torch.from_numpy(policy.codec.mask.copy())
    env = BimanualEnv(task, cameras=policy.embodiment.cameras, disturbance=disturbance)
    env.reset(seed=seed)
    session, hold = policy.start(env.instruction), policy.embodiment.hold_action(env.state())
    policy.observe_first(session, {name: image[None] for name, image in env.images().items()}, env.state())
    last = torch.from_numpy(codec.encode(hold[None], hold))[0][mask]
    stride = policy.embodiment.timing.camera_stride
    while True:
        assert session.observed is not None
        with torch.no_grad():
            decided = network(session.observed[None, :, -1], last[None])[0, :EXECUTED_ACTIONS]
        universal = torch.zeros(EXECUTED_ACTIONS, len(mask))
        universal[:, mask] = decided
        actions = codec.decode(universal.numpy(), hold).astype(np.float32)
        frames: dict[str, list[np.ndarray]] = {name: [] for name in env.cameras}
        for number, action in enumerate(actions, 1):
            _, _, success, truncated, _ = env.step(action)
            if success or truncated:
                env.close()
                return success
            if number % stride == 0:
                for name, image in env.images().items():
                    frames[name].append(image)
        policy.observe(session, {name: np.stack(clip) for name, clip in frames.items()}, actions)
        last = decided[-1]


def main() -> None:
    """Fit, print the errors, drive."""
    parser = ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--task", default="reach_cube")
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--steps", type=int, default=900)
    parser.add_argument("--episodes", type=int, default=0, help="episodes in closed loop, undisturbed and nudged")
    parser.add_argument("--seed", type=int, default=3_000_000)
    given = parser.parse_args()
    torch.set_num_threads(1)
    policy, dataset = foreact.load("tiny"), EpisodeDataset(given.data)
    sequences = load_sequences(dataset, LatentCache(dataset, policy.networks.vae, policy.embodiment), policy.codec)
    mask = torch.from_numpy(policy.codec.mask.copy())
    training, held_out = pairs(sequences[:-HELD_OUT], mask), pairs(sequences[-HELD_OUT:], mask)
    begun = time.process_time()
    network = fit(training, given)
    print(f"{len(training[0])} pairs, {time.process_time() - begun:.0f} s of processor time")
    for name, data in (("trained on", training), ("held out", held_out)):
        print("{}: mean absolute error {:.4f}, mean squared {:.4f}".format(name, *errors(network, data)))
    for disturbance in (Disturbance(), Disturbance(name="nudge", nudge_cm=5.0)) if given.episodes else ():
        seeds = range(given.seed, given.seed + given.episodes)
        done = sum(succeeds(network, policy, given.task, disturbance, seed) for seed in seeds)
        print(f"{given.task}, disturbance {disturbance.describe()}: {done} of {given.episodes}", flush=True)


if __name__ == "__main__":
    main()
