"""What a training says: step, time left and loss first, on 80 columns; lines where there is no terminal."""

import io
from dataclasses import replace

import pytest
from rich.console import Console

from foreact.commands.train_progress import LINES, is_due, losses, show, throughput, time_left
from foreact.training.run import Progress


def step(number: int, *, num_steps: int = 4000, judged: str = "", forward: float = 0.0) -> Progress:
    return Progress(
        step=number,
        num_steps=num_steps,
        loss=0.75,
        dynamics=0.5,
        forward_dynamics=forward,
        inverse=0.25,
        judged=judged,
    )


def lines_of(steps: list[Progress], *, terminal: bool, width: int = 80) -> list[str]:
    out = io.StringIO()
    show(steps, Console(file=out, force_terminal=terminal, width=width, color_system=None, legacy_windows=False))
    return out.getvalue().splitlines()


def test_lines_begin_with_step_time_left_and_loss_where_there_is_no_terminal() -> None:
    said = lines_of([step(number, num_steps=3) for number in (1, 2, 3)], terminal=False)
    assert len(said) == 3 and "\x1b" not in "".join(said)
    assert said[0] == "step 1 of 3, time left unknown, loss 0.750 (video 0.500, actions 0.250)"
    assert said[2] == "step 3 of 3, 0 s left, loss 0.750 (video 0.500, actions 0.250)"


def test_a_long_training_writes_few_lines() -> None:
    due = [number for number in range(1, 4001) if is_due(step(number), 1)]
    assert (due[0], due[-1], len(due)) == (1, 4000, LINES + 1)
    assert is_due(step(501), 501), "the first one after it was resumed"


def test_step_time_left_and_loss_fit_on_80_columns_of_a_terminal() -> None:
    said = "\n".join(lines_of([step(number, forward=0.1) for number in range(1, 30)], terminal=True))
    assert "step 29 of 4000" in said and "left" in said
    assert "loss 0.750 (video 0.500, actions 0.250, forward" in " ".join(said.split())


@pytest.mark.parametrize("terminal", [True, False])
def test_held_out_figures_have_a_line_of_their_own_when_they_are_new(terminal: bool) -> None:
    stored = [step(1), step(2, judged="latents 0.5"), step(3, judged="latents 0.5"), step(4, judged="latents 0.4")]
    said = [line for line in lines_of(stored, terminal=terminal) if "held-out" in line]
    assert [line[line.index("step") :].rstrip() for line in said] == [
        "step 2, held-out episodes: latents 0.5",
        "step 4, held-out episodes: latents 0.4",
    ]


@pytest.mark.parametrize(("seconds", "said"), [(1.0, "40 s left"), (10.0, "7 min left"), (1000.0, "11.1 h left")])
def test_time_left_is_said_in_a_fitting_unit(seconds: float, said: str) -> None:
    assert time_left(step(60, num_steps=100), seconds, 1) == said


def test_parts_of_the_loss_that_are_not_trained_are_not_shown() -> None:
    assert losses(step(1)) == "loss 0.750 (video 0.500, actions 0.250)"
    assert losses(step(1, forward=0.1)).endswith("forward 0.100)")


def test_notes_are_said_as_they_are() -> None:
    details = [replace(step(1), notes=("passed over, too short: [bold]a[/]",)), step(2)]
    assert "passed over, too short: [bold]a[/]" in lines_of(details, terminal=False)


def test_lines_say_how_fast_a_step_was() -> None:
    timed = replace(step(1), tokens_per_s=12_345.0, data_share=0.04)
    assert throughput(timed, None) == ", 12,345 tokens/s, 4 % making batches"
    assert throughput(timed, 0.361) == ", 12,345 tokens/s, 36 % of peak, 4 % making batches"
    assert throughput(step(1), 0.5) == ""
    out = io.StringIO()
    show([timed], Console(file=out, force_terminal=False, width=80), flops_per_token=2e9, peak_flops_per_s=1e14)
    assert out.getvalue().rstrip().endswith("12,345 tokens/s, 25 % of peak, 4 % making batches")
