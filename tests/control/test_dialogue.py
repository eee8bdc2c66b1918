from itertools import chain, repeat

import numpy as np
import pytest

from foreact.control.clock import VirtualClock
from foreact.control.drive import drive
from foreact.control.latency import DelaySettings, constant
from foreact.control.worker import VirtualWorker
from foreact.errors import InputError
from foreact.types import ActionChunk

TICK_S = 0.02


def test_a_delay_that_grew_is_covered_by_the_old_chunk_as_far_as_it_reaches(doubles) -> None:
    """Reckoned with 1 tick, it took 6; the next turn comes as soon as it can, and its chunk begins later."""
    placed, config = [], doubles.config(execution_horizon=2, delay=DelaySettings(initial_s=0.02))
    latencies = chain([0.0], repeat(6 * TICK_S))
    report, _, _ = doubles.run(config, latencies_s=latencies, on_chunk=placed.append)
    turns = [(p.begin_tick - p.num_under_way, p.begin_tick, p.arrival_tick, p.late) for p in placed[1:5]]
    assert turns == [(4, 8, 10, True), (12, 20, 18, False), (20, 28, 26, False), (28, 36, 34, False)]
    assert report.num_idle_ticks == 0


def test_when_chunks_are_asked_for_and_begin(doubles) -> None:
    """6 ticks are a latent frame and 2 actions: under way 1 and a prefix of 2, or under way 2. 10 leave no prefix."""
    with_prefix, without = [(4, 8, 4, 2), (12, 16, 4, 2)], [(4, 12, 8, 0), (16, 24, 8, 0)]
    for delay_ticks, inpaints, expected in [
        (6, True, with_prefix),
        (6, False, without),
        (10, True, [(0, 12, 12, 0), (12, 24, 12, 0)]),
    ]:
        placed = []
        config, latency_s = doubles.config(), delay_ticks * TICK_S
        doubles.run(config, latencies_s=constant(latency_s), on_chunk=placed.append, inpaints=inpaints)
        begins = [p.begin_tick for p in placed]
        asked = [p.begin_tick - p.num_under_way for p in placed]
        found = list(zip(asked, begins, [p.num_under_way for p in placed], [p.num_prefix for p in placed], strict=True))
        assert found[1:3] == expected
        assert [p.arrival_tick for p in placed[1:3]] == [tick + delay_ticks for tick in asked[1:3]]
        assert not any(p.late for p in placed) and {p.delay_ticks for p in placed[1:]} == {delay_ticks}
        assert [p.index for p in placed] == list(range(len(placed)))


def test_actions_whose_time_has_passed_are_dropped(doubles) -> None:
    """Two of three latent frames are executed; while the next chunk is late, the third is executed too."""
    config = doubles.config(execution_horizon=2, delay=DelaySettings(initial_s=0.0))
    latencies = chain([0.0, 3 * TICK_S], repeat(0.0))
    report, _, _ = doubles.run(config, latencies_s=latencies, num_commands=14)
    assert report.executed[:, 0].tolist() == list(range(14))
    assert report.executed[:, 1].tolist() == [0] * 11 + [1] * 3
    assert report.num_idle_ticks == 0 and report.num_late_chunks == 1


def test_a_controller_that_must_see_first_is_shown_everything(doubles) -> None:
    config, placed = doubles.config(delay=DelaySettings(initial_s=0.08)), []
    report, brain, robot = doubles.run(
        config,
        latencies_s=chain([0.0], repeat(4 * TICK_S)),
        num_commands=40,
        on_chunk=placed.append,
        sees_first=lambda turn: turn == 2,
    )
    assert [(len(t.executed), len(t.under_way)) for t in brain.turns] == [(8, 4), (12, 4), (4, 0), (8, 4)]
    assert [len(p.chunk.actions) for p in placed] == [12, 12, 0, 12]
    assert report.num_fallbacks == 1 and report.num_idle_ticks == 4 and report.num_late_chunks == 0
    assert [command[0] for command in robot.commands][20:32] == [20, 21, 22, 23, 23, 23, 23, 23, 24, 25, 26, 27]


def test_seeing_first_with_a_prefix_goes_on_to_a_whole_latent_frame(doubles) -> None:
    config, delay_s = doubles.config(delay=DelaySettings(initial_s=0.04)), 2 * TICK_S
    report, brain, _ = doubles.run(
        config, latencies_s=constant(delay_s), num_commands=40, inpaints=True, sees_first=lambda turn: turn == 1
    )
    sizes = [(len(t.executed), len(t.under_way), len(t.prefix)) for t in brain.turns]
    assert sizes[:3] == [(8, 0, 2), (4, 0, 0), (8, 0, 2)]
    assert report.num_idle_ticks == 2


def test_an_answer_must_have_actions_if_all_was_seen(doubles) -> None:
    class Mute(doubles.Controller):
        def chunk(self, begin: int) -> ActionChunk:
            return super().chunk(begin) if begin == 0 else ActionChunk(actions=np.zeros((0, 2), np.float32))

    clock, robot, config = VirtualClock(), doubles.Robot(90), doubles.config()
    with pytest.raises(InputError, match="nothing was under way"):
        drive(robot, Mute(config, waits=True), config, clock=clock, worker=VirtualWorker(clock, constant(0.1)))
    assert robot.commands[-1].tolist() == robot.commands[-2].tolist() == [11, 0]


@pytest.mark.parametrize("actions", [np.zeros((11, 2)), np.full((12, 2), np.nan), np.zeros(12)])
def test_a_chunk_that_cannot_be_executed_stops_the_robot(doubles, actions) -> None:
    class Wrong(doubles.Controller):
        def proceed(self, turn) -> ActionChunk:
            return ActionChunk(actions=actions.astype(np.float32))

    clock, robot, config = VirtualClock(), doubles.Robot(90), doubles.config()
    with pytest.raises(InputError, match="actions of a chunk") as raised:
        drive(robot, Wrong(config), config, clock=clock, worker=VirtualWorker(clock, constant(0.0)))
    assert raised.value.__notes__ == ["the robot was stopped after 12 actions"]
    assert len(robot.commands) == 13 and robot.commands[12].tolist() == robot.commands[11].tolist()


def test_a_chunk_longer_than_was_agreed_stops_the_robot(doubles) -> None:
    brain, clock = doubles.Controller(doubles.config(latent_frames_per_chunk=4)), VirtualClock()
    worker = VirtualWorker(clock, constant(0.0))
    with pytest.raises(InputError, match="got: 16; allowed: multiples of 4 up to 12"):
        drive(doubles.Robot(9), brain, doubles.config(), clock=clock, worker=worker)


def test_what_is_under_way_is_the_turns_own(doubles) -> None:
    """A controller that writes into its turn changes nothing that the robot does."""

    class Scribbler(doubles.Controller):
        def proceed(self, turn) -> ActionChunk:
            answer = super().proceed(turn)
            for array in (turn.under_way, turn.prefix, turn.executed):
                array[:] = -7
            return answer

    clock, robot, config = VirtualClock(), doubles.Robot(60), doubles.config()
    worker = VirtualWorker(clock, constant(5 * TICK_S))
    drive(robot, Scribbler(config, inpaints=True), config, clock=clock, worker=worker)
    assert [command[0] for command in robot.commands] == list(range(60))


def test_a_prefix_is_executed_as_it_was_decided(doubles) -> None:
    """Whatever the new chunk holds in its place."""

    class Forgetful(doubles.Controller):
        def proceed(self, turn) -> ActionChunk:
            answer = super().proceed(turn)
            answer.actions[: len(turn.prefix)] = 99
            return answer

    clock, robot, config = VirtualClock(), doubles.Robot(60), doubles.config(delay=DelaySettings(margin_ticks=2))
    worker = VirtualWorker(clock, constant(0.0))
    drive(robot, Forgetful(config, inpaints=True), config, clock=clock, worker=worker)
    assert [command[0] for command in robot.commands] == list(range(60))


def test_a_new_chunk_fades_in_after_the_prefix(doubles) -> None:
    """Old and new differ in their second number only: 0 and 1; the prefix is 1 action."""
    config = doubles.config(blend_actions=3, delay=DelaySettings(initial_s=TICK_S))
    report, brain, _ = doubles.run(config, latencies_s=constant(TICK_S), num_commands=14, inpaints=True)
    assert len(brain.turns[0].prefix) == 1
    assert report.executed[:, 0].tolist() == list(range(14))
    assert report.executed[8:14, 1].tolist() == [0.0, 0.25, 0.5, 0.75, 1.0, 1.0]


def test_answers_sooner_than_reckoned_with_do_not_stretch_the_horizon(doubles) -> None:
    """8 ticks of margin ask early; still each chunk follows the one before after a latent frame."""
    placed, config = [], doubles.config(execution_horizon=1, delay=DelaySettings(margin_ticks=8))
    doubles.run(config, on_chunk=placed.append, num_commands=40)
    begins = [p.begin_tick for p in placed]
    assert begins == [0, *range(8, 8 + 4 * (len(begins) - 1), 4)] and len(begins) > 8


@pytest.mark.parametrize("waits", [True, False])
@pytest.mark.parametrize("latency_ticks", [0, 3, 6])
def test_a_first_chunk_may_be_shorter(doubles, waits: bool, latency_ticks: int) -> None:
    """As published policies begin: the next chunk begins where it ends, and nothing is executed twice or left out."""

    class Short(doubles.Controller):
        def begin(self, observation) -> ActionChunk:
            chunk = super().begin(observation)
            return ActionChunk(actions=chunk.actions[:8])

    clock, robot, config = VirtualClock(), doubles.Robot(60), doubles.config()
    brain, placed = Short(config, waits=waits), []
    worker = VirtualWorker(clock, constant(latency_ticks * config.tick_s))
    report = drive(robot, brain, config, clock=clock, worker=worker, on_chunk=placed.append)
    assert [p.begin_tick for p in placed][:4] == [0, 8, 20, 32]
    assert report.executed[:, 0].tolist() == list(range(report.num_executed))
    assert report.num_idle_ticks > 0 if waits and latency_ticks else report.num_idle_ticks == 0
