"""Writers that are killed: what was acknowledged is there, what was not is not, in whole batches."""

import random
import time

import numpy as np
import pytest

from llmhash.collection import Collection

SIZE = 50
POINTS = [
    "half an append",
    "after the append",
    "within the transaction",
    "before the commit",
    "after the commit",
]


@pytest.mark.parametrize("point", POINTS)
def test_a_writer_killed_at_a_point(create, start_writer, check_numbered, point):
    create(24).close()
    path = create(24, name="killed").path
    writer = start_writer(path, 5, SIZE, point, 2)
    acknowledged = [int(line) for line in writer.communicate()[0].split()]
    assert writer.returncode == -9
    assert acknowledged == [SIZE, 2 * SIZE]
    whole = SIZE * (3 if point == "after the commit" else 2)

    with Collection.open(path, readonly=True) as reader:
        assert len(reader) == whole
        check_numbered(reader)
        reader.verify()
    again = start_writer(path, 2, SIZE)
    assert [int(line) for line in again.communicate()[0].split()] == [whole + SIZE, whole + 2 * SIZE]
    with Collection.open(path, readonly=True) as reader:
        check_numbered(reader)
        reader.verify()


def test_a_reader_beside_a_writer_killed_at_any_moment(create, start_writer, check_numbered):
    path = create(24).path
    for seed in range(3):
        writer = start_writer(path, 10_000, SIZE)
        first = int(writer.stdout.readline())
        with Collection.open(path, readonly=True) as reader:
            end = time.monotonic() + random.Random(seed).uniform(0.05, 0.3)
            looks = 0
            while time.monotonic() < end or looks < 3:
                reader.refresh()
                count = len(reader)
                assert count >= first
                assert count % SIZE == 0
                rows = reader.search(reader.codes[-1:], 1)[1]
                assert np.array_equal(reader.codes[rows[0]], reader.codes[-1:])
                assert len(reader.records(np.arange(count - SIZE, count))) == SIZE
                looks += 1
            writer.kill()
            acknowledged = [first, *map(int, writer.communicate()[0].split("\n")[:-1])]
            reader.refresh()
            assert len(reader) in (acknowledged[-1], acknowledged[-1] + SIZE)
            check_numbered(reader)
            reader.verify()
