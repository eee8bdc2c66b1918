import pytest
import torch

from foreact.data.batch import TrainingSequence
from foreact.errors import TrainingError
from foreact.training.guard import check_gradient, check_losses


def sequence(name: str) -> TrainingSequence:
    return TrainingSequence(
        latents=torch.zeros(1, 2, 1, 1),
        actions=torch.zeros(2, 1, 30),
        executed=torch.zeros(2, 1, 30),
        action_valid=torch.ones(2, 1, dtype=torch.bool),
        frame_valid=torch.ones(2, dtype=torch.bool),
        instruction="",
        channel_mask=torch.ones(30, dtype=torch.bool),
        name=name,
    )


def test_finite_losses_and_gradients_pass() -> None:
    check_losses(torch.ones(2), [sequence("a"), sequence("b")], 3)
    check_gradient(torch.tensor(1.0), 3)


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_what_is_no_number_names_the_step_and_the_episode(bad: float) -> None:
    with pytest.raises(TrainingError, match="loss of step 7; got: not a finite number, of episode 4 of data"):
        check_losses(torch.tensor([1.0, bad]), [sequence("other"), sequence("episode 4 of data")], 7)
    with pytest.raises(TrainingError, match="gradient of step 7; got: a norm of"):
        check_gradient(torch.tensor(bad), 7)
