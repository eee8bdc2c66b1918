"""Ask the shipped policy four questions at one moment of a simulated episode, then let the robot move and compare."""

import numpy as np
import torch

import foreact
from foreact.policy.disagreement import frame_distances
from foreact.simulation.environment import BimanualEnv

SEED = 1_000_003  # of an episode that no policy was trained on

policy = foreact.load("tiny")
timing = policy.embodiment.timing
env = BimanualEnv("lift_cube", cameras=policy.embodiment.cameras)


def pictures(clip: list[dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """Return per camera its frames, uint8 [time, height, width, 3]."""
    return {camera: np.stack([frame[camera] for frame in clip]) for camera in env.cameras}


def execute(actions: np.ndarray) -> dict[str, np.ndarray]:
    """Let the robot move; return what its cameras saw on the way."""
    seen = []
    for number, action in enumerate(actions, 1):
        env.step(action)
        if number % timing.camera_stride == 0:
            seen.append(env.images())
    return pictures(seen)


env.reset(seed=SEED)
session = policy.start(env.instruction, seed=0)
policy.observe_first(session, pictures([env.images()]), env.state())
print(f"{env.instruction!r}, asked at the first picture\n")

chunk = policy.predict(session)
print(f"policy            history          -> actions {chunk.actions.shape} and video {chunk.imagined_latents.shape}")
imagined = policy.imagine(session)
print(f"video only        history          -> video {tuple(imagined.shape)}")
foreseen = policy.foresee(session, chunk.actions)
print(f"forward dynamics  history, actions -> video {tuple(foreseen.shape)}")
still = np.repeat(policy.embodiment.hold_action(env.state())[None], len(chunk.actions), axis=0)
foreseen_still = policy.foresee(session, still)

frames = execute(chunk.actions)  # now it happens
inferred = policy.infer_actions(session, frames)
print(f"inverse dynamics  history, frames  -> actions {inferred.shape}")

policy.observe(session, frames, chunk.actions)  # nothing above counted as observed; this does
happened = session.observed


def distance(video: torch.Tensor) -> float:
    """Return how far latents are from what happened; 1 is the spread of latents."""
    return frame_distances(video, happened).mean().item()


print("\nAfter these actions were executed. Distance of latents from what happened (1: their spread):")
print(f"  the policy's video                        {distance(torch.from_numpy(chunk.imagined_latents)):.3f}")
print(f"  video only, other noise                   {distance(imagined):.3f}")
print(f"  forward dynamics, given the actions       {distance(foreseen):.3f}")
print(f"  forward dynamics, told to stand still     {distance(foreseen_still):.3f}")
print("Mean absolute difference from the executed actions (radians; grippers: opening):")
print(f"  inverse dynamics, from the frames         {np.abs(inferred - chunk.actions).mean():.3f}")
print(f"  standing still                            {np.abs(still - chunk.actions).mean():.3f}")
env.close()
