"""The model card of a saved policy: what it drives, what it takes and gives, how it was made, how to run it."""

from collections.abc import Mapping
from typing import Any

from huggingface_hub import ModelCardData

from foreact.embodiments import Embodiment
from foreact.policy.networks import PolicyParts

PAPER = "https://arxiv.org/abs/2601.21998"


def model_card(policy: PolicyParts, provenance: Mapping[str, Any]) -> str:
    """Return the README.md of a policy, with the metadata that the hub reads.

    Args:
        policy: What is saved.
        provenance: How it was trained; success rates are quoted only if they are in `provenance["results"]`.
    """
    metadata = ModelCardData(  # no licence: it is for whoever trained the weights to choose one
        library_name="foreact",
        pipeline_tag="robotics",
        tags=["robotics", "world-model", "foreact"],
    )
    sections = [
        _what(policy),
        _inputs(policy),
        _network(policy),
        _settings(policy),
        _provenance(provenance),
        _use(policy),
    ]
    return f"---\n{metadata.to_yaml()}\n---\n\n" + "\n\n".join(sections) + "\n"


def _what(policy: PolicyParts) -> str:
    robot = policy.embodiment
    imagines = "imagines the near future of the robot's cameras and decodes the actions that lead there"
    does = imagines if policy.config.trained.imagines else "decodes actions from what the robot's cameras saw"
    return (
        f"# A foreact policy for {robot.name}\n\n{robot.description}\n\n"
        f"An autoregressive diffusion model that {does}, in closed loop ([LingBot-VA]({PAPER}), run by foreact)."
    )


def _inputs(policy: PolicyParts) -> str:
    robot, timing = policy.embodiment, policy.embodiment.timing
    sizes = zip(robot.cameras, robot.layout.picture_sizes, strict=True)
    lines = [
        "## In and out\n",
        "| | |\n|---|---|",
        f"| cameras | {', '.join(f'`{name}` {height}x{width}' for name, (height, width) in sizes)} |",
        f"| camera rate | {timing.camera_hz:g} Hz |",
        f"| actions | {timing.action_hz:g} Hz, {policy.actions_per_chunk} a chunk: {_dofs(robot)} |",
        f"| instruction | English text, {policy.networks.text_encoder.dim} numbers a token |",
    ]
    return "\n".join(lines)


def _dofs(robot: Embodiment) -> str:
    return ", ".join(f"`{dof.name}`" + (f" ({dof.unit})" if dof.unit else "") for dof in robot.dofs)


def _network(policy: PolicyParts) -> str:
    model = policy.networks.model
    sizes = {
        "network": sum(p.numel() for p in model.parameters()),
        "of it for actions alone": sum(p.numel() for p in model.action.parameters()),
        "video VAE": sum(p.numel() for p in policy.networks.vae.parameters()),
    }
    kind = (
        "shared backbone" if model.config.is_shared else "Mixture-of-Transformers, a stream each for video and actions"
    )
    rows = "\n".join(f"| {name} | {count:,} parameters |" for name, count in sizes.items())
    return f"## Network\n\n{kind}\n\n| | |\n|---|---|\n{rows}"


def _settings(policy: PolicyParts) -> str:
    config = policy.config
    video = f"{config.video_steps} video steps to s = {config.s_stop:g}, guidance {config.video_guidance:g}; "
    steps = (video if config.trained.imagines else "") + f"{config.action_steps} action steps"
    return (
        f"## As it is run by default\n\n{steps}; {config.latent_frames_per_chunk} latent frames a chunk, "
        f"{config.window} latent frames of history."
    )


def _provenance(provenance: Mapping[str, Any]) -> str:
    known = {
        key: value
        for key, value in provenance.items()
        if isinstance(value, (str, int, float, bool)) and key != "results"
    }
    rows = "\n".join(f"| {key} | {value} |" for key, value in known.items())
    table = f"| | |\n|---|---|\n{rows}\n\n" if rows else ""
    results = provenance.get("results")
    measured = f"Measured: {results}." if results else "No success rate was recorded with these weights."
    return f"## How it was made\n\n{table}{measured} The whole of it is in `config.json`."


def _use(policy: PolicyParts) -> str:
    cameras = ", ".join(f'"{camera}": ...' for camera in policy.embodiment.cameras)
    return (
        "## Use\n\n```python\nimport foreact\n\n"
        'policy = foreact.load("this folder or repository")\n'
        'session = policy.start("What to do, in words.")\n'
        f"policy.observe_first(session, {{{cameras}}}, state)  # uint8 [1, height, width, 3] each\n"
        "chunk = policy.predict(session)  # .actions\n```\n\n"
        "Numbers are normalised inside, by the statistics stored in `config.json`; images and actions are in the "
        "robot's own units."
    )
