"""Filtered searches: exact whatever is added, deleted or compacted between them."""

import numpy as np
import pytest

from llmhash.collection import Collection
from llmhash.collection.bitmaps import Bitmaps
from llmhash.collection.filters import parse_filter
from llmhash.collection.moment import Moment
from llmhash.errors import InputError

FILTERS = [
    {"year": 1985},
    {"year": {">=": 1983, "<": 1990}},
    {"lang": {"in": ["en", "de"]}, "year": {"<": 1988}},
    {"not": {"lang": "en"}},
    {"year": {"!=": 1985}},
    {"or": [{"lang": {"not in": ["en"]}}, {"year": {"exists": False}}]},
    {"and": [{"not": {"year": {">": 1984}}}, {"not": {"lang": "fr"}}]},
]


def satisfies(metadata, number):
    year, lang = metadata.get("year"), metadata.get("lang")
    return [
        year == 1985,
        year is not None and 1983 <= year < 1990,
        lang in ("en", "de") and year is not None and year < 1988,
        lang != "en",
        year != 1985,
        lang != "en" or year is None,
        not (year is not None and year > 1984) and lang != "fr",
    ][number]


def metadata_of(rng):
    values = {"year": int(rng.integers(1980, 1992)), "lang": str(rng.choice(["en", "de", "fr"]))}
    return {key: value for key, value in values.items() if rng.random() < 0.8}


@pytest.fixture
def mixed(create, random_codes):
    """Documents with and without metadata; some are deleted."""
    collection = create(fields=["year", "lang"])
    rng = np.random.default_rng(0)
    collection.add(random_codes(400, 64), metadata=[metadata_of(rng) for _ in range(400)])
    collection.delete([str(i) for i in rng.choice(400, 60, replace=False)])
    return collection


@pytest.mark.parametrize("number", range(len(FILTERS)))
def test_a_filtered_search_is_exact(mixed, random_codes, number):
    rng = np.random.default_rng(1)
    where = FILTERS[number]
    queries = random_codes(3, 64, seed=1)
    metadata = [{"year": 1985}, None]
    steps = [
        lambda: None,
        lambda: mixed.add(random_codes(30, 64, seed=2), metadata=[metadata_of(rng) for _ in range(30)]),
        lambda: mixed.delete([record.id for record in mixed.iterate()][::7]),
        mixed.compact,
        lambda: mixed.upsert(random_codes(2, 64, seed=3), ids=["399", "new"], metadata=metadata),
        mixed.compact,
        lambda: mixed.add(random_codes(3, 64, seed=4)),
    ]
    for step in steps:
        step()
        documents = list(mixed.iterate())
        rows = np.array([r.row for r in documents if satisfies(r.metadata, number)])
        assert 0 < len(rows) < len(documents)
        for _ in range(2):  # The second time from the cache.
            assert mixed.rows(where).tolist() == rows.tolist()
        assert mixed.count(where) == len(rows)
        assert [record.row for record in mixed.iterate(where, batch_size=10)] == rows.tolist()
        distances = np.bitwise_count(queries.packed[:, None] ^ mixed.codes_at(rows)).sum(axis=2)
        order = np.argsort(distances, axis=1, kind="stable")
        found = mixed.search(queries, len(rows) + 1, where=where)
        assert np.array_equal(found[1][:, :-1], rows[order])
        assert np.array_equal(found[0][:, :-1], np.take_along_axis(distances, order, axis=1))
        assert (found[1][:, -1] == -1).all()
        lims, _, within = mixed.range_search(queries, 30, where=where)
        assert np.diff(lims).tolist() == (distances <= 30).sum(axis=1).tolist()
        assert np.isin(within, rows).all()
        logits = queries.to_pm1(np.float32)
        assert np.array_equal(mixed.asymmetric_search(logits, len(rows), where=where)[1], rows[order])


def test_where_allow_and_deny_combine(mixed, random_codes):
    query = random_codes(1, 64, seed=1)
    where = {"lang": "en"}
    matching = mixed.rows(where)
    for kind in ("rows", "mask"):
        allow, deny = matching[:20], matching[5:10]
        if kind == "mask":
            masks = np.zeros((2, len(mixed.codes)), bool)
            masks[0, allow] = masks[1, deny] = True
            allow, deny = masks
        found = mixed.search(query, 50, allow=allow, deny=deny, where=where)[1][0]
        assert sorted(found[found >= 0].tolist()) == sorted(set(matching[:20]) - set(matching[5:10]))
    found = mixed.search(query, 500, deny=matching)[1][0]
    assert sorted(found[found >= 0].tolist()) == mixed.rows({"not": where}).tolist()
    others = mixed.rows({"lang": "de"})
    assert (mixed.search(query, 5, allow=others, where=where)[1] == -1).all()


def test_masks_mean_the_rows_that_the_handle_has_seen(mixed, random_codes):
    """A filter refreshes the handle; a mask made before the refresh must still be understood."""
    query = random_codes(1, 64, seed=1)
    with Collection.open(mixed.path, readonly=True) as reader:
        matching = reader.rows({"lang": "en"})
        mask = np.zeros(len(reader.codes), bool)
        mask[matching[:10]] = True
        mixed.delete([record.id for record in mixed.records(matching[:3])])
        mixed.add(random_codes(5, 64), metadata=[{"lang": "en"}] * 5)
        mixed.compact()
        found = reader.search(query, 20, allow=mask, where={"lang": "en"})[1][0]
        assert sorted(found[found >= 0].tolist()) == matching[3:10].tolist()
        assert len(reader) == len(mixed)


def test_a_filter_sees_the_last_commit(mixed, random_codes):
    with Collection.open(mixed.path, readonly=True) as reader:
        before = reader.count({"lang": "en"})
        mixed.add(random_codes(2, 64), ids=["x", "y"], metadata=[{"lang": "en"}, {"lang": "de"}])
        assert len(reader) == len(mixed) - 2
        assert reader.count({"lang": "en"}) == before + 1
        assert len(reader) == len(mixed)


def test_fields_are_declared(create, random_codes):
    collection = create(fields=["year"])
    collection.add(random_codes(2, 64), metadata=[{"year": 1, "lang": "en"}, None])
    assert collection.fields == ("year",)
    for use in (collection.rows, collection.count, collection.iterate):
        with pytest.raises(InputError, match="lang"):
            use({"lang": "en"})
    with pytest.raises(InputError, match="lang"):
        collection.search(random_codes(1, 64), 1, where={"lang": "en"})
    with Collection.open(collection.path, readonly=True) as reader:
        collection.declare(["lang", "year"])
        collection.declare([])
        assert reader.fields == collection.fields == ("year", "lang")
        assert reader.rows({"lang": "en"}).tolist() == [0]
        with pytest.raises(InputError, match="read-only"):
            reader.declare(["more"])
    for wrong in ("year", [""], [3]):
        with pytest.raises(InputError):
            collection.declare(wrong)
    with pytest.raises(InputError):
        create(name="other", fields="year")
    assert not (collection.path.parent / "other").exists()
    assert collection.info()["fields"] == ["year", "lang"]
    collection.verify()


NO_FILTERS = [{"year": {"~": 1}}, {"yaer": 1}, {"year": [1]}, {"year": float("nan")}, [1]]


@pytest.mark.parametrize("wrong", NO_FILTERS)
def test_filters_that_are_none_are_refused(mixed, random_codes, wrong):
    for use in (mixed.rows, mixed.count, mixed.iterate, lambda where: mixed.delete(where=where)):
        with pytest.raises(InputError):
            use(wrong)
    assert len(mixed) == 340


@pytest.fixture
def asked(monkeypatch):
    """The first rows that the database was asked about, one a query."""
    firsts = []
    original = Moment.matching

    def matching(self, condition, first=0):
        firsts.append(first)
        return original(self, condition, first)

    monkeypatch.setattr(Moment, "matching", matching)
    return firsts


def test_a_bitmap_is_kept_and_topped_up(mixed, random_codes, asked):
    mixed.count({"lang": "en"})
    mixed.count({"lang": "en"})
    mixed.delete(["399"] if mixed.find(["399"])[0] >= 0 else ["398"])
    mixed.count({"lang": {"==": "en"}})
    assert asked == [0]
    mixed.add(random_codes(2, 64), metadata=[{"lang": "en"}, None])
    mixed.count({"lang": "en"})
    assert asked == [0, 400]
    mixed.compact()
    mixed.count({"lang": "en"})
    mixed.count({"lang": "en"})
    assert asked == [0, 400, 0]


def masks_of(collection, bitmaps, filters):
    with collection._last_commit() as (moment, view):
        return [bitmaps.mask(parse_filter(where, ["year", "lang"]), moment, view) for where in filters]


def test_the_least_recently_used_bitmaps_are_dropped(mixed, asked):
    bitmaps = Bitmaps(limit_bytes=100)  # Two of 400 slots.
    a, b, c = FILTERS[:3]
    masks_of(mixed, bitmaps, [a, b, a, c, a])
    assert len(asked) == 3
    masks_of(mixed, bitmaps, [b])
    assert len(asked) == 4
    none = Bitmaps(limit_bytes=10)
    first, second = masks_of(mixed, none, [a, a])
    assert np.array_equal(first, second)
    assert len(asked) == 6


def test_an_older_commit_does_not_take_a_later_bitmap(mixed, random_codes, asked):
    """A document that was replaced between the two would be missing from both places."""
    bitmaps = Bitmaps()
    where = {"lang": "en"}
    name = mixed.records(mixed.rows(where)[:1])[0].id
    with mixed._last_commit() as (moment, view):
        expected = mixed.rows(where)
        mixed.upsert(random_codes(1, 64), ids=[name], metadata=[{"lang": "en"}])
        masks_of(mixed, bitmaps, [where])
        condition = parse_filter(where, ["lang"])
        older = bitmaps.mask(condition, moment, view)
        assert np.flatnonzero(view.allowed(matching=older)).tolist() == expected.tolist()
    asked.clear()
    masks_of(mixed, bitmaps, [where])
    assert asked == []


def test_an_iteration_is_of_one_commit(mixed, random_codes):
    expected = list(mixed.iterate())
    seen = []
    for record in mixed.iterate(batch_size=10):
        seen.append(record)
        if len(seen) % 50 == 1:
            mixed.upsert(random_codes(1, 64), ids=[expected[-len(seen)].id])
            mixed.compact()
    assert seen == expected
    with pytest.raises(InputError, match="batch_size"):
        mixed.iterate(batch_size=0)
