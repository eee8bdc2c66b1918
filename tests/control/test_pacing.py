import pytest
from hypothesis import given
from hypothesis import strategies as st

from foreact.control.config import ControlConfig
from foreact.control.pacing import Pacing, Plan

PER_FRAME, NUM_FRAMES = 4, 4


def pacing(*, waits: bool = False, inpaints: bool = False, horizon: int | None = None) -> Pacing:
    config = ControlConfig(
        camera_stride=2,
        actions_per_latent_frame=PER_FRAME,
        latent_frames_per_chunk=NUM_FRAMES,
        execution_horizon=horizon,
    )
    return Pacing(config=config, waits=waits, inpaints=inpaints)


def first_plan(rule: Pacing, delay: int) -> tuple[int, Plan]:
    """When a chunk that begins at 0 is followed up, and how."""
    for tick in range(NUM_FRAMES * PER_FRAME + 1):
        plan = rule.plan(tick=tick, chunk_begin=0, queue_end=NUM_FRAMES * PER_FRAME, delay_ticks=delay)
        if plan:
            return tick, plan
    raise AssertionError("the queue ran dry and nothing was asked")


@pytest.mark.parametrize(
    ("delay", "inpaints", "asked", "begin", "prefix"),
    [
        (0, False, 16, 16, 0),
        (0, True, 16, 16, 0),
        (1, False, 12, 16, 0),
        (1, True, 12, 12, 1),
        (4, True, 12, 16, 0),
        (7, False, 8, 16, 0),
        (7, True, 8, 12, 3),
        (12, True, 4, 16, 0),
        (13, False, 0, 16, 0),
        (13, True, 0, 16, 0),
        (99, False, 0, 16, 0),
        (99, True, 0, 16, 0),
    ],
)
def test_the_delay_is_covered_by_latent_frames_and_a_prefix(delay, inpaints, asked, begin, prefix) -> None:
    tick, plan = first_plan(pacing(inpaints=inpaints), delay)
    assert (tick, plan) == (asked, Plan(begin_tick=begin, num_under_way=begin - asked, num_prefix=prefix))


@given(st.integers(0, 30), st.booleans(), st.none() | st.integers(1, NUM_FRAMES))
def test_what_is_decided_covers_the_delay_and_no_more(delay, inpaints, horizon) -> None:
    tick, plan = first_plan(pacing(inpaints=inpaints, horizon=horizon), delay)
    decided = plan.num_under_way + plan.num_prefix
    assert tick % PER_FRAME == plan.num_under_way % PER_FRAME == 0
    assert decided >= min(delay, NUM_FRAMES * PER_FRAME)
    assert decided - delay < PER_FRAME and plan.num_prefix < PER_FRAME
    assert tick + decided <= NUM_FRAMES * PER_FRAME
    assert plan.begin_tick >= PER_FRAME * min(horizon or NUM_FRAMES, NUM_FRAMES - (plan.num_prefix > 0))
    assert plan.num_prefix == 0 or (inpaints and decided == delay)
    assert plan.begin_tick > 0


@given(st.integers(0, 30), st.booleans(), st.none() | st.integers(1, NUM_FRAMES), st.integers(0, 16))
def test_when_the_right_boundary_has_passed_the_old_chunk_serves_for_longer(delay, inpaints, horizon, tick) -> None:
    rule = pacing(inpaints=inpaints, horizon=horizon)
    asked, _ = first_plan(rule, delay)
    plan = rule.plan(tick=tick, chunk_begin=0, queue_end=16, delay_ticks=delay)
    assert (plan is not None) == (tick % PER_FRAME == 0 and tick >= asked)
    if plan:
        decided = plan.num_under_way + plan.num_prefix
        assert min(delay, 16 - tick) <= decided <= 16 - tick
        assert plan.num_prefix < PER_FRAME


@given(st.integers(0, 30), st.none() | st.integers(1, NUM_FRAMES), st.booleans())
def test_who_waits_is_asked_with_nothing_under_way(delay, horizon, inpaints) -> None:
    rule = pacing(waits=True, inpaints=inpaints, horizon=horizon)
    end = PER_FRAME * (horizon or NUM_FRAMES)
    assert first_plan(rule, delay) == (end, Plan(begin_tick=end, num_under_way=0, num_prefix=0))
    assert rule.stand_tick(8) == 8 + end
    assert pacing(horizon=horizon).stand_tick(8) is None


def test_a_chunk_of_one_latent_frame_has_no_prefix_to_offer() -> None:
    config = ControlConfig(camera_stride=2, actions_per_latent_frame=4, latent_frames_per_chunk=1)
    rule = Pacing(config=config, waits=False, inpaints=True)
    assert rule.plan(tick=0, chunk_begin=0, queue_end=4, delay_ticks=3) == Plan(
        begin_tick=4, num_under_way=4, num_prefix=0
    )
