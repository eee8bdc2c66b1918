"""Which commands there are. Nothing is imported for it, so that `foreact --help` answers at once."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Command:
    """One command, before its module is imported."""

    module: str
    """In `foreact.commands`; holds a dataclass `Settings` and a function `run` of them."""
    summary: str
    """One line of help: the first line of the docstring of its `Settings`."""
    group: str
    """The heading under which `foreact --help` lists it."""


SEE = "See a policy at work"
MAKE = "Make a policy, in this order"
KNOW = "Know what it costs, and whether it is right"
STUDY = "Answer a question by many trainings"
SHELL = "Your shell"

COMMANDS: dict[str, Command] = {
    "demo": Command(module="demo", group=SEE, summary="Show a policy at work in real time, in simulation."),
    "play": Command(
        module="play",
        group=SEE,
        summary="Open a page where you play with a policy: watch it imagine and act, and move the cube while it works.",
    ),
    "evaluate": Command(
        module="evaluate", group=SEE, summary="Measure a policy: how many episodes of a task succeed, and in what time."
    ),
    "reproduce": Command(
        module="reproduce",
        group=SEE,
        summary="Measure a published success rate again, and write it next to the published one.",
    ),
    "imagine": Command(
        module="imagine", group=SEE, summary="Imagine from a still picture what the robot will do: a film and actions."
    ),
    "serve": Command(module="serve", group=SEE, summary="Serve a policy to robots over the network."),
    "collect": Command(
        module="collect", group=MAKE, summary="Record an expert's successful episodes as a LeRobot v3.0 dataset."
    ),
    "doctor": Command(
        module="doctor", group=MAKE, summary="Say what is in a dataset, and what is wrong or odd about it."
    ),
    "embodiment": Command(
        module="embodiment",
        group=MAKE,
        summary="Propose a robot's file from a dataset: names, units, grippers, cameras, rate.",
    ),
    "train-vae": Command(
        module="train_vae", group=MAKE, summary="Train the small video VAE on the pictures of some datasets."
    ),
    "encode": Command(
        module="encode", group=MAKE, summary="Encode datasets into latents once, so that training reads no pictures."
    ),
    "init": Command(
        module="init", group=MAKE, summary="Make the initial weights of a full-size network from published ones."
    ),
    "train": Command(module="train", group=MAKE, summary="Train a policy on encoded datasets."),
    "distill": Command(
        module="distill", group=MAKE, summary="Make a policy that computes a chunk in one or two steps, from another."
    ),
    "export": Command(
        module="export", group=MAKE, summary="Copy a policy for use elsewhere, its weights at another precision."
    ),
    "push": Command(module="push", group=MAKE, summary="Upload a policy to the Hugging Face hub, with its model card."),
    "calibrate": Command(
        module="calibrate", group=MAKE, summary="Measure how far imagination may be off before a robot should stop."
    ),
    "describe": Command(
        module="describe", group=KNOW, summary="Say what a policy needs, without making it: weights, work, memory."
    ),
    "plan": Command(
        module="plan",
        group=KNOW,
        summary="Propose the recipe that fits your GPUs, with its time, its price and the command to start.",
    ),
    "info": Command(module="info", group=KNOW, summary="Say what a dataset or a policy is, on one screen."),
    "bench": Command(module="bench", group=KNOW, summary="Time a policy's chunks on this machine, stage by stage."),
    "modes": Command(
        module="modes", group=KNOW, summary="Ask one network four questions on held-out recorded episodes."
    ),
    "verify": Command(
        module="verify", group=KNOW, summary="Replay a recording of the published program, tensor by tensor."
    ),
    "study": Command(module="study", group=STUDY, summary="Answer a question by a grid of trainings and evaluations."),
    "evidence": Command(module="evidence", group=STUDY, summary="Write one document of all studies."),
    "completion": Command(
        module="completion", group=SHELL, summary="Print a script that completes this command's words on Tab."
    ),
}
