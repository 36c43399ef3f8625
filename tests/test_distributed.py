"""Collectives, the flat gradient reduction, and shares of a batch."""

import math

import pytest
import several_processes
import torch

from saddle.distributed import Delayed, Share, all_gather, all_reduce, average_gradients, broadcast_object
from saddle.errors import InputError
from saddle.randomness import Rows


def test_one_process_needs_no_group():
    x = torch.ones(2, 3)
    assert all_gather(x) is x and all_reduce(x) is x
    assert broadcast_object("x") == "x"
    parameter = torch.nn.Parameter(torch.zeros(3))
    riders = torch.ones(1)
    assert average_gradients([parameter], riders) is riders


def test_collectives_and_their_adjoints(pair):
    alone = {key: value.detach() for key, value in several_processes.collectives().items()}
    first, second = (results["collectives"] for results in pair)
    for name in ("rows", "total"):
        assert torch.equal(first[name], second[name])
        assert torch.allclose(first[name], alone[name], rtol=1e-14)
    for name in ("gradient", "second"):
        assert torch.allclose(torch.cat([first[name], second[name]]), alone[name], rtol=1e-12), name


def test_gradients_are_averaged_and_votes_are_summed(pair):
    first, second = (results["averaging"] for results in pair)
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert first["riders"].tolist() == [3.0, math.inf]
    assert "1" not in first  # had no gradient
    for i, (place, shape) in enumerate({"0": (3,), "2": (2, 3, 4, 4), "3": ()}.items()):
        assert torch.allclose(first[place], several_processes.numbers(2, *shape, key=f"grad{i}").mean(0), rtol=1e-14)


def test_helpers(pair):
    for rank, results in enumerate(pair):
        assert results["helpers"] == {"broadcast": {"rank": 0}, "rank": rank, "world_size": 2}


@pytest.mark.parametrize(("processes", "accumulate"), [(1, 1), (2, 1), (1, 3), (3, 2), (2, 2)])
def test_shares_are_the_global_batch(processes, accumulate):
    shares = [Share(24, processes, rank, accumulate) for rank in range(processes)]
    local = 24 // (processes * accumulate)
    assert all(share.local == local and len(share.indices()) == 24 // processes for share in shares)
    assert sorted(i for share in shares for i in share.indices()) == list(range(24))
    for micro in range(accumulate):
        size = 24 // accumulate
        together = [i for share in shares for i in share.indices()[micro * local : (micro + 1) * local]]
        assert together == list(range(micro * size, (micro + 1) * size))  # gathered in order of the ranks
        for share in shares:
            rows = share.rows[micro]
            assert len(rows) == local and rows.total == 24
            assert list(range(rows.start, rows.stop)) == share.indices()[micro * local : (micro + 1) * local]


def test_a_single_share_is_everything():
    assert Share(8).rows[0] == Rows(0, 8, 8)


@pytest.mark.parametrize(("processes", "accumulate"), [(3, 1), (1, 3), (2, 4)])
def test_uneven_shares_are_refused(processes, accumulate):
    with pytest.raises(InputError, match=rf"data.batch_size=20.*multiple of {processes * accumulate}"):
        Share(20, processes, 0, accumulate)


def test_delayed_gives_the_number_that_was_put_last():
    number = Delayed()
    assert number.get() == 0.0
    number.put(2.0)
    number.put(torch.tensor(math.pi, dtype=torch.float64))
    assert number.get() == math.pi
    assert isinstance(number.get(), float)
