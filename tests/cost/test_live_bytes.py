"""The counter of live memory, on computations whose peak is plain to see."""

import torch

from foreact.cost.live_bytes import LiveBytes


def test_peak_and_what_stays():
    with LiveBytes() as memory:
        first = torch.empty(1000, device="meta")
        second = first.view(10, 100) + 1
        del first
        third = second * 2
        del second
    assert memory.peak == 8000
    assert memory.live == 4000
    del third
    assert memory.live == 0


def test_views_and_changes_in_place_are_no_new_memory():
    with LiveBytes() as memory:
        tensor = torch.empty(1000, device="meta")
        rows = tensor.view(10, 100)[:5].transpose(0, 1)
        tensor.add_(1)
    assert memory.peak == memory.live == 4000
    del tensor
    assert memory.live == 4000, "the view keeps it"
    del rows
    assert memory.live == 0


def test_what_was_there_before_does_not_count():
    before = torch.empty(1000, device="meta")
    with LiveBytes() as memory:
        before.mul_(2)
        after = before + 1
    assert memory.live == 4000 == after.untyped_storage().nbytes()


def test_a_half_precision_number_takes_half():
    with LiveBytes() as memory:
        kept = torch.empty(1000, device="meta", dtype=torch.bfloat16)
    assert memory.peak == 2000 == kept.untyped_storage().nbytes()
