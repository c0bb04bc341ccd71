"""Rows and slots through compactions, against a list of the rows."""

import numpy as np
import pytest

from llmhash.collection.slots import SlotMap


def stored(starts, rows):
    return np.concatenate([starts, rows]).astype("<i8").view(np.uint8).reshape(-1, 8)


@pytest.mark.parametrize("share", [0.0, 0.05, 0.5, 0.95, 1.0])
@pytest.mark.parametrize("count", [0, 1, 2, 300])
def test_maps_equal_a_list_of_rows(count, share, monkeypatch):
    monkeypatch.setattr("llmhash.collection.slots._BLOCK", 64)
    rng = np.random.default_rng(0)
    rows = np.arange(count)
    slots = SlotMap.of_runs(count)
    next_row = count
    for added in (0, 3, 50, 1):
        rows = np.append(rows, np.arange(next_row, next_row + added))
        next_row += added
        slots = SlotMap(len(rows), slots.starts, slots.rows)
        asked = np.arange(-1, next_row + 2)
        expected = np.full(len(asked), -1)
        expected[rows + 1] = np.arange(len(rows))
        assert np.array_equal(slots.slots_of(asked), expected)
        assert np.array_equal(slots.rows_of(np.arange(len(rows))), rows)
        assert slots.rows_of(np.array([[-1, len(rows)]])).tolist() == [[-1, next_row]]
        live = rng.random(len(rows)) >= share
        starts, firsts = slots.without(live)
        rows = rows[live]
        slots = SlotMap.of_runs(len(rows), stored(starts, firsts))
        assert slots.starts.tolist() == sorted(set(slots.starts.tolist()))
        assert np.array_equal(slots.rows_of(np.arange(len(rows) + 1)), np.append(rows, next_row))


def test_few_runs_are_enough():
    live = np.ones(1000, bool)
    live[[0, 500, 501]] = False
    starts, rows = SlotMap.of_runs(1000).without(live)
    assert (starts.tolist(), rows.tolist()) == ([0, 499], [1, 502])
    live[-10:] = False
    starts, rows = SlotMap.of_runs(1000).without(live)
    assert (starts.tolist(), rows.tolist()) == ([0, 499, 987], [1, 502, 1000])
