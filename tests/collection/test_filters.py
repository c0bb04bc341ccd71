"""Filters against a plain evaluator in Python, the indexes they use, and what they refuse."""

import json
import operator
import sqlite3

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from llmhash.collection.filters import (
    MAX_CONDITIONS,
    MAX_DEPTH,
    check_field,
    index_statement,
    parse_filter,
)
from llmhash.errors import InputError

# Case, quotes, dots, brackets and spaces must not be confused with each other or with SQL.
FIELDS = ["a", "A", "b.c", "it's [0] $", "größe"]

COMPARE = {"<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge}


def satisfies(metadata, where):
    """The reference: whether a document with this metadata satisfies the filter."""
    return all(satisfies_part(metadata, name, value) for name, value in where.items())


def satisfies_part(metadata, name, value):
    if name == "and":
        return all(satisfies(metadata, part) for part in value)
    if name == "or":
        return any(satisfies(metadata, part) for part in value)
    if name == "not":
        return not satisfies(metadata, value)
    conditions = value if isinstance(value, dict) else {"==": value}
    return all(satisfies_condition(metadata.get(name), *condition) for condition in conditions.items())


def satisfies_condition(value, symbol, operand):
    if symbol == "exists":
        return (value is not None) == operand
    if symbol == "!=":
        return not equal(value, operand)
    if symbol == "in":
        return any(equal(value, one) for one in operand)
    if symbol == "not in":
        return not any(equal(value, one) for one in operand)
    if symbol == "==":
        return equal(value, operand)
    return same_kind(value, operand) and COMPARE[symbol](as_stored(value), operand)


def equal(value, operand):
    return same_kind(value, operand) and as_stored(value) == operand


def same_kind(value, operand):
    return any(isinstance(value, kind) and isinstance(operand, kind) for kind in (str, int | float))


def as_stored(value):
    """SQL has integers of 64 bits and reads longer ones as floats."""
    if isinstance(value, int) and not -(2**63) <= value < 2**63:
        return float(value)
    return value


# Small pools, so that documents and filters meet; JSON-like strings, as SQL extracts lists as their JSON.
EDGES = [
    0,
    1,
    -1,
    1.5,
    -0.0,
    2**53,
    2**53 + 1,
    float(2**53),
    2**63 - 1,
    -(2**63),
    0.1,
    0.30000000000000004,
    1e300,
]
STRINGS = [*"abA1\\é[{\t%\U0001f600\ud7ff", "", "a'b", 'say "x"', "日本", "[1]", '{"x":1}']
numbers = st.sampled_from(EDGES) | st.integers(-3, 3) | st.floats(allow_nan=False, allow_infinity=False)
strings = st.sampled_from(STRINGS) | st.text(
    st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=3
)
operands = numbers | strings | st.booleans()
values = (
    operands
    | st.none()
    | st.sampled_from([2**63, -(2**64), 10**30, [], [1], ["a"], {}, {"x": 1}, [[1], {"a": "b"}]])
)
documents = st.lists(st.dictionaries(st.sampled_from([*FIELDS, "undeclared"]), values), max_size=12)
conditions = st.dictionaries(
    st.sampled_from(["==", "!=", *COMPARE, "in", "not in", "exists"]), st.none(), min_size=1, max_size=3
).flatmap(
    lambda drawn: st.fixed_dictionaries(
        {
            symbol: st.booleans()
            if symbol == "exists"
            else st.lists(operands, max_size=4)
            if symbol.endswith("in")
            else numbers | strings
            if symbol in COMPARE
            else operands
            for symbol in drawn
        }
    )
)
leaves = st.dictionaries(st.sampled_from(FIELDS), operands | conditions, min_size=1, max_size=3)


def compound(inner):
    parts = st.lists(inner, min_size=1, max_size=3)
    return (
        st.builds(lambda word, parts: {word: parts}, st.sampled_from(["and", "or"]), parts)
        | st.builds(lambda part: {"not": part}, inner)
        | st.builds(lambda leaf, parts: {**leaf, "or": parts}, leaves, parts)
    )


filters = st.recursive(leaves, compound, max_leaves=8)


def fill(connection, documents):
    connection.execute("DELETE FROM records")
    stored = [json.dumps(metadata, ensure_ascii=False) if metadata else None for metadata in documents]
    rows = [(row, str(row), metadata) for row, metadata in enumerate(stored)]
    connection.executemany("INSERT INTO records VALUES (?, ?, ?)", rows)


def database(documents, fields=FIELDS):
    connection = sqlite3.connect(":memory:")
    connection.execute(
        "CREATE TABLE records (row INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, metadata TEXT)"
    )
    for field in fields:
        connection.execute(index_statement(field))
        connection.execute(index_statement(field))
    fill(connection, documents)
    return connection


def matching(connection, where, fields=FIELDS):
    parsed = parse_filter(where, fields)
    rows = connection.execute(f"SELECT row FROM records WHERE {parsed.sql} ORDER BY row", parsed.values)
    return [row for (row,) in rows]


@pytest.fixture(scope="module", params=["with indexes", "without"])
def shared(request):
    connection = database([], FIELDS if request.param == "with indexes" else [])
    yield connection
    connection.close()


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(documents=documents, where=filters)
def test_filters_equal_the_reference(shared, documents, where):
    fill(shared, documents)
    expected = [row for row, metadata in enumerate(documents) if satisfies(metadata, where)]
    assert matching(shared, where) == expected
    complement = [row for row in range(len(documents)) if row not in expected]
    assert matching(shared, {"not": where}) == complement
    # 0 or 1 for every row, never NULL, so that it can stand within any other expression.
    parsed = parse_filter(where, FIELDS)
    truths = shared.execute(f"SELECT {parsed.sql} FROM records ORDER BY row", parsed.values)
    assert [truth for (truth,) in truths] == [int(row in expected) for row in range(len(documents))]


@pytest.mark.parametrize(
    ("where", "expected"),
    [
        ({"a": 1}, [0, 1, 2]),
        ({"a": True}, [0, 1, 2]),
        ({"a": "1"}, [3]),
        ({"a": "[1]"}, [5]),
        ({"a": {">=": ""}}, [3, 5]),
        ({"a": {"<": "a"}}, [3, 5]),
        ({"a": {"<=": 1}}, [0, 1, 2]),
        ({"a": {">": -1e308, "<": "z"}}, []),
        ({"a": {"in": ["1", 1, "[1]"]}}, [0, 1, 2, 3, 5]),
        ({"a": {"in": []}}, []),
        ({"a": {"not in": []}}, list(range(9))),
        ({"a": {"!=": 1}}, [3, 4, 5, 6, 7, 8]),
        ({"a": {"exists": True}}, [0, 1, 2, 3, 4, 5, 6]),
        ({"a": {"exists": False}}, [7, 8]),
        ({"not": {"not": {"a": "1"}}}, [3]),
    ],
)
def test_types_are_not_mixed(where, expected):
    values = [1, 1.0, True, "1", [1], "[1]", {"x": "1"}, None]
    connection = database([*({"a": value} for value in values), {}])
    assert matching(connection, where) == expected


def test_values_of_numpy_and_any_iterable_are_taken():
    connection = database([{"a": 1}, {"a": 2}, {"a": "x"}, {"a": 2.5}])
    for operands in (
        np.array([1, 2]),
        (1, 2),
        {1, 2},
        iter([1, 2]),
        range(1, 3),
        [np.int8(1), np.float32(2)],
    ):
        assert matching(connection, {"a": {"in": operands}}) == [0, 1]
    assert matching(connection, {"a": np.str_("x")}) == [2]
    assert matching(connection, {"a": {">": np.float64(2)}}) == [3]


def test_a_list_of_many_values():
    connection = database([{"a": n} for n in range(10)] + [{"a": str(n)} for n in range(10)])
    many = [*range(5, 100_000), *map(str, range(100_000))]
    assert matching(connection, {"a": {"in": many}}) == list(range(5, 20))


@pytest.mark.parametrize(
    ("where", "plan"),
    [
        ({"a": 1}, "(<expr>=?)"),
        ({"a": 1.5}, "(<expr>=?)"),
        ({"a": "x"}, "(<expr>=?)"),
        ({"a": {"in": ["x", 1]}}, "(<expr>=?)"),
        ({"a": {">=": 1990}}, "(<expr>>? AND <expr><?)"),
        ({"a": {">=": 1990, "<": 2000}}, "(<expr>>? AND <expr><?)"),
        ({"a": {"<": 0.5}}, "(<expr><?)"),
        ({"a": {">": "x"}}, "(<expr>>?)"),
        ({"a": {"<=": "x"}}, "(<expr>>? AND <expr><?)"),
        ({"a": {"exists": False}}, "(<expr>=?)"),
        ({"a": {">": 0}, "größe": {"exists": True}, "b.c": {"!=": 3}}, "(<expr>>? AND <expr><?)"),
        ({"and": [{"not": {"b.c": 3}}, {"or": [{"b.c": 1}, {"b.c": 2}]}, {"a": "x"}]}, "(<expr>=?)"),
    ],
)
def test_an_index_is_used(where, plan):
    connection = database([])
    parsed = parse_filter(where, FIELDS)
    steps = connection.execute(
        f"EXPLAIN QUERY PLAN SELECT row FROM records WHERE {parsed.sql}", parsed.values
    )
    assert f"SEARCH records USING INDEX metadata_61 {plan}" in [step[3] for step in steps]


def test_alternatives_use_an_index_each():
    connection = database([])
    parsed = parse_filter({"or": [{"a": "x"}, {"größe": {">": 3}}]}, FIELDS)
    steps = connection.execute(
        f"EXPLAIN QUERY PLAN SELECT row FROM records WHERE {parsed.sql}", parsed.values
    )
    assert sum("SEARCH records USING INDEX" in step[3] for step in steps) == 2


@pytest.mark.parametrize(
    "equal",
    [
        [{"a": 1, "A": 2}, {"A": 2, "a": 1}, {"and": [{"a": {"==": 1}}, {"A": 2.0}]}],
        [{"or": [{"a": 1}, {"A": 2}]}, {"or": [{"A": 2}, {"or": [{"A": 2}] * 2}, {"a": True}]}],
        [{"a": {"in": [3, 1, 2, 1]}}, {"a": {"in": (1, 2, 3)}}, {"a": {"in": np.arange(1, 4)}}],
        [{"a": {"in": ["x"]}}, {"a": "x"}, {"not": {"a": {"!=": "x"}}}],
        [{"a": {">": 1, "<": 5}}, {"a": {"<": 5.0, ">": 1}}],
        [{"not": {"or": [{"a": 1}, {"A": 2}]}}, {"a": {"!=": 1}, "A": {"not in": [2]}}],
        [{"a": {"exists": False}}, {"not": {"a": {"exists": True}}}],
    ],
)  # fmt: skip
def test_equal_filters_have_equal_keys(equal):
    keys = [parse_filter(where, FIELDS).key for where in equal]
    assert len(set(keys)) == 1
    assert json.loads(keys[0])


def test_other_filters_have_other_keys():
    conditions = [1, "1", 1.5, {"!=": 1}, {">": 1}, {">=": 1}, {">": 1, "<": 2}, {"in": [1, 2]}]
    conditions += [{"in": ["1", "2"]}, {"not in": [1, 2]}, {"exists": True}, {"exists": False}]
    others = [{"a": condition} for condition in conditions]
    others += [{"A": 1}, {"a": 1, "A": 1}, {"or": [{"a": 1}, {"A": 1}]}, {"not": {"a": 1, "A": 1}}]
    assert len({parse_filter(where, FIELDS).key for where in others}) == len(others)


def nested(depth, kinds, breadth=1):
    """A filter `depth` levels deep through `kinds` in turn, that no simplification makes any flatter."""
    where = {"a": {"<": "x"}}
    for level in range(depth - 1):
        kind = kinds[level % len(kinds)]
        leaves = [{"a": {"<": f"{level} {n}"}} for n in range(breadth)]
        where = {"not": {**where, "A": level}} if kind == "not" else {kind: [*leaves, where, *leaves]}
    return where


@pytest.mark.parametrize(
    "kinds", [["and", "or"], ["not"], ["and", "not"], ["or", "not"], ["not", "or", "and"]]
)
def test_deep_filters(kinds):
    connection = database([{"a": "0"}])
    for breadth in (1, 4):
        deep = nested(MAX_DEPTH, kinds, breadth)
        assert (matching(connection, deep) == [0]) == satisfies({"a": "0"}, deep)
        with pytest.raises(InputError, match=f"more than {MAX_DEPTH} levels"):
            parse_filter(nested(MAX_DEPTH + 1, kinds, breadth), FIELDS)


def bushy(levels, conditions):
    """A filter that branches evenly as far as its conditions go and is a chain from there on."""
    if conditions < 2:
        return nested(levels, ["and", "or"])
    word = "and" if levels % 2 else "or"
    return {word: [bushy(levels - 1, conditions // 2), bushy(levels - 1, conditions // 2)]}


def test_bushy_filters():
    # 8 chains of 2 * 46 conditions are too many; the deepest that branches everywhere has 4 of them.
    connection = database([{"a": "0"}])
    deep = bushy(MAX_DEPTH, 4)
    assert (matching(connection, deep) == [0]) == satisfies({"a": "0"}, deep)
    broad = {"or": [{"and": [{"a": {">": str(n)}}, {"A": n}]} for n in range(MAX_CONDITIONS // 2)]}
    assert matching(connection, broad) == []
    flat = {"or": [{"a": {"<": str(n), ">": ""}} for n in range(MAX_CONDITIONS // 2)]}
    assert matching(connection, flat) == [0]
    longest = "ü" * 100
    many = {"or": [{longest: {"not in": ["[", n]}} for n in range(MAX_CONDITIONS)]}
    assert matching(connection, many, [longest]) == [0]


def test_a_filter_within_itself():
    where = {"or": []}
    where["or"] += [where, where]
    with pytest.raises(InputError, match="levels"):
        parse_filter(where, FIELDS)


BAD_FILTERS = {
    "no mapping": ([{"a": 1}], "must be a mapping"),
    "a string": ("a == 1", "must be a mapping"),
    "empty": ({}, "must not be empty"),
    "empty within": ({"and": [{}]}, "must not be empty"),
    "an undeclared field": ({"größer": 1}, "'größer', which is not declared; did you mean größe"),
    "another undeclared field": ({"zzz": 1}, r"there are a, A, b\.c"),
    "a field that is no string": ({1: 2}, "the field 1"),
    "an unknown operator": ({"a": {"=": 1}}, "operator '=' .*did you mean"),
    "a foreign operator": ({"a": {"$gte": 1}}, r"operator '\$gte' \(for 'a'\); there are ==, !=, <"),
    "an operator that is no string": ({"a": {3: 1}}, "no filter operator 3"),
    "no condition": ({"a": {}}, "no condition for 'a'"),
    "null": ({"a": None}, "takes no null for 'a'; ask {'a': {'exists': False}}"),
    "null in a list": ({"a": {"in": [1, None]}}, "'in' takes no null"),
    "a list": ({"a": [1, 2]}, "one value for 'a', not a list; for several, use 'in'"),
    "a list of lists": ({"a": {"in": [[1]]}}, "one value"),
    "a string for a list": ({"a": {"in": "abc"}}, "'in' takes a list of values for 'a', not 'abc'"),
    "a number for a list": ({"a": {"not in": 3}}, "'not in' takes a list"),
    "bytes": ({"a": b"x"}, "strings, numbers and booleans for 'a'"),
    "NaN": ({"a": {"<": float("nan")}}, "'<' takes finite numbers for 'a', not nan"),
    "infinity": ({"a": {"in": [float("inf")]}}, "finite"),
    "numpy's NaN": ({"a": np.float32("nan")}, "finite"),
    "a long integer": ({"a": 2**63}, "64 bits"),
    "a very long integer": ({"a": -(10**5000)}, "64 bits"),
    "an order of booleans": ({"a": {">": False}}, "'>' takes a number or a string"),
    "exists with a number": ({"a": {"exists": 1}}, "'exists' takes true or false"),
    "a NUL": ({"a": "x\0y"}, "NUL"),
    "a lone surrogate": ({"a": {"in": ["\ud800"]}}, "lone surrogate"),
    "and without parts": ({"and": []}, "'and' takes a list of at least one filter"),
    "or with a mapping": ({"or": {"a": 1}}, "'or' takes a list"),
    "not with a list": ({"not": [{"a": 1}]}, "must be a mapping"),
    "too many conditions": (
        {"or": [{"a": n} for n in range(MAX_CONDITIONS + 1)]},
        f"more than {MAX_CONDITIONS} conditions",
    ),
}


@pytest.mark.parametrize("name", BAD_FILTERS)
def test_bad_filters_are_refused(name):
    where, message = BAD_FILTERS[name]
    with pytest.raises(InputError, match=message):
        parse_filter(where, FIELDS)


def test_a_collection_without_declared_fields():
    with pytest.raises(InputError, match="'a', which is not declared; no field is; declare it first"):
        parse_filter({"a": 1}, ())


@pytest.mark.parametrize(
    "field", [*FIELDS, "x" * 200, " ", "\U0001f600", "select", "exists", "'; DROP TABLE records; --"]
)
def test_field_names(field):
    assert check_field(field) == field
    connection = database([{field: 3}, {}], [field])
    assert matching(connection, {field: 3}, [field]) == [0]


@pytest.mark.parametrize(
    "field",
    ["", 'a"b', "a\\b", "a\nb", "a\0", "\x7f", "\ud800", "and", "or", "not", "x" * 201, None, 3, b"a"],
)
def test_bad_field_names_are_refused(field):
    for use in (check_field, index_statement):
        with pytest.raises(InputError, match=r"cannot be declared|must be a string"):
            use(field)
