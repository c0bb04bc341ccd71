"""Writers that are killed: what was acknowledged is there, what was not is not, and nothing in between."""

import copy
import shutil

import pytest
from store_harness.crashes import Crashes, StoreError
from store_harness.documents import COMPACT, KINDS
from store_harness.points import LASTING, POINTS

from llmhash.collection import Collection


@pytest.fixture(scope="module")
def filled(tmp_path_factory):
    crashes = Crashes(tmp_path_factory.mktemp("filled") / "collection", numbers=200, batch=40, seed=0)
    crashes.fill()
    return crashes


@pytest.fixture
def crashes(filled, tmp_path):
    crashes = copy.deepcopy(filled)
    crashes.path = shutil.copytree(filled.path, tmp_path / "collection")
    return crashes


@pytest.mark.parametrize(("kind", "point"), [(kind, point) for kind in POINTS for point in POINTS[kind]])
def test_a_writer_killed_at_a_point(crashes, kind, point):
    assert crashes.kill_at(kind, point) == ("kept" if point in LASTING else "undone")
    crashes.finish()


@pytest.mark.parametrize("kind", KINDS)
def test_a_writer_killed_before_any_line(crashes, kind):
    outcomes = []
    for part in (0.02, 0.3, 0.6, 0.98):
        outcomes.append(crashes.kill_before_line(kind, part))
        crashes.fill()
    assert outcomes[0] == "undone"
    assert outcomes[-1] == "kept"
    crashes.finish()


def test_a_writer_killed_at_random_moments(tmp_path):
    crashes = Crashes(tmp_path / "collection", numbers=300, batch=60, seed=0)
    kills = [crashes.kill_once() for _ in range(20)]
    assert len({kill.during for kill in kills} & set(KINDS)) >= 3
    assert sum(kill.acknowledged.total() for kill in kills) > 20
    crashes.finish()


def test_the_harness_notices_a_loss(crashes):
    with Collection.open(crashes.path) as collection:
        collection.delete([next(collection.iterate()).id])
    with pytest.raises(StoreError, match="documents expected"):
        crashes.kill_at(COMPACT, "before the transaction")
