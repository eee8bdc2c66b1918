"""A policy as a command's options ask for it."""

from foreact.commands.options import DenoisingOptions, MachineOptions
from foreact.commands.progress import console
from foreact.policy.compiled import warm_up
from foreact.policy.controllers import with_room
from foreact.policy.loading import load
from foreact.policy.policy import Policy
from foreact.policy.schedules import apply_schedule


def load_policy(name: str, denoising: DenoisingOptions, machine: MachineOptions, *, compile: bool = False) -> Policy:
    """Return a policy on its device, its schedule applied and, if wanted, compiled.

    Raises:
        UnknownNameError: There is no such schedule; said before anything large is loaded.
        CheckpointError: There is no such policy, or it is damaged.
        ConfigurationError: The options do not go with the policy or with this machine.
    """
    denoising.check()
    loaded = load(name, device=machine.use(), compile=compile)
    policy = apply_schedule(loaded, denoising.schedule, **denoising.changes())
    if compile:
        with console.status("compiling, every shape that a session needs"):
            seconds = warm_up(with_room(policy).predictor)
        console.print(f"Compiled in {seconds:.0f} s.")
    return policy
