"""Metadata filters, from mappings to SQL.

    {"year": {">=": 1990, "<": 2000}, "lang": {"in": ["en", "de"]}, "kind": "article"}
    {"or": [{"year": 1999}, {"not": {"lang": "en"}}]}

Several keys must all hold, and a plain value means `==`. The operators are `==`, `!=`, `<`, `<=`, `>`, `>=`,
`in`, `not in` and `exists`; values are strings, numbers and booleans.

Logic is two-valued: a document without the field, with null in it or with a value of another type does not
satisfy `==`, `<`, `in` and the like, so it does satisfy their exact complements `!=`, `not in` and `not`.
Integers and floats compare by value. As in Python, true equals 1 and false equals 0. Strings compare by code
point; a stored string that holds a NUL counts up to it. Lists and objects satisfy `exists` only.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from llmhash.errors import InputError, suggest

Where = Mapping[str, Any]

#: Levels of `and`, `or` and `not`, and conditions in all: what SQLite's parser takes without recompiling it.
MAX_DEPTH = 50
MAX_CONDITIONS = 500
# Bytes: every condition names its field several times, and a statement has at most a million.
_MAX_FIELD_BYTES = 200

# What JSON escapes, and what has no UTF-8.
_UNUSABLE = re.compile(r'["\\\x00-\x1f\x7f\ud800-\udfff]')

_CONNECTIVES = ("and", "or", "not")
_RANGE_OPERATORS = ("<", "<=", ">", ">=")
_OPERATORS = ("==", "!=", *_RANGE_OPERATORS, "in", "not in", "exists")

_Operand = str | int | float


@dataclass(frozen=True)
class Filter:
    """A filter as SQL.

    Attributes:
        key: Canonical JSON: filters of equal form have equal keys.
        sql: An expression over the columns of `records` that is 0 or 1, never NULL; it stands in brackets, or
            is NOT and one in brackets.
        values: Its parameters.
    """

    key: str
    sql: str
    values: tuple[str | int, ...]


def parse_filter(where: Where, fields: Collection[str]) -> Filter:
    """Check `where` and compile it.

    Args:
        where: The filter.
        fields: The fields it may name.

    Raises:
        InputError: It is not a filter, or names another field; the message says where and why.
    """
    node = _Parser(fields).filter(where, MAX_DEPTH, negated=False)
    return Filter(node.key, node.sql, node.values)


def index_statement(field: str) -> str:
    """The statement that indexes `field` of the metadata, so that filters need not read every document."""
    # In hexadecimal because SQLite does not tell upper from lower case in names.
    name = "metadata_" + check_field(field).encode().hex()
    return f"CREATE INDEX IF NOT EXISTS {name} ON records({_extracted(field)})"


def check_field(name: str) -> str:
    """Return `name`, or raise `InputError` unless metadata can be filtered on a field of that name."""
    if not isinstance(name, str):
        raise InputError(f"a metadata field's name must be a string, not {name!r}.")
    if not name or _UNUSABLE.search(name):
        raise InputError(
            f"{name!r} cannot be declared: a field's name must not be empty nor hold a double quote, "
            "a backslash, a control character or a lone surrogate."
        )
    if name in _CONNECTIVES:
        raise InputError(
            f"{name!r} cannot be declared: in filters it is a word of its own; rename the field."
        )
    if len(name.encode()) > _MAX_FIELD_BYTES:
        raise InputError(
            f"{name[:20]!r}... cannot be declared: a name takes at most {_MAX_FIELD_BYTES} bytes."
        )
    return name


# ---------------------------------------------------------------------- SQL


@dataclass(frozen=True)
class _Node:
    """A part of a filter: its canonical form and its SQL.

    `nesting` is the height of the parser's stack that its SQL needs, counted in brackets: SQLite's has 100
    places. A bracket takes one where it opens an expression and three where it follows an operator.
    """

    key: str
    sql: str
    values: tuple[str | int, ...]
    nesting: int = 0


def _extracted(field: str) -> str:
    """The value of `field` in SQL. An index is used for the very expression that it was made for."""
    return f"json_extract(metadata, {_path(field)})"


def _path(field: str) -> str:
    quoted = field.replace("'", "''")
    return f"'$.\"{quoted}\"'"


def _joined(word: str, nodes: Sequence[_Node]) -> _Node:
    """`nodes` in their canonical order under `word`, "and" or "or", equal ones once."""
    # The deepest comes first, where its brackets cost SQLite's parser least.
    distinct = sorted({node.key: node for node in nodes}.values(), key=lambda node: (-node.nesting, node.key))
    if len(distinct) == 1:
        return distinct[0]
    return _Node(
        key=f'{{"{word}":[{",".join(node.key for node in distinct)}]}}',
        sql="(" + f" {word.upper()} ".join(node.sql for node in distinct) + ")",
        values=tuple(value for node in distinct for value in node.values),
        nesting=max(distinct[0].nesting + 1, distinct[1].nesting + 3),
    )


def _complement(node: _Node) -> _Node:
    return _Node(f'{{"not":{node.key}}}', f"NOT {node.sql}", node.values, node.nesting + 1)


def _leaf(field: str, conditions: Mapping[str, Any], terms: Iterable[str], values: Sequence[Any]) -> _Node:
    """All of `terms` about `field`; a missing value makes the last one 0 and so the whole, never NULL."""
    key = json.dumps({field: conditions}, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
    return _Node(key, f"({' AND '.join([*terms, f'{_extracted(field)} IS NOT NULL'])})", tuple(values))


def _exists(field: str, wanted: bool) -> _Node:
    key = json.dumps({field: {"exists": wanted}}, ensure_ascii=False, separators=(",", ":"))
    return _Node(key, f"({_extracted(field)} IS {'NOT ' if wanted else ''}NULL)", ())


def _equals(field: str, operand: _Operand) -> _Node:
    terms = [f"{_extracted(field)} = {_placeholder(operand)}"]
    if _looks_like_container(operand):
        terms.append(_is_string(field))
    return _leaf(field, {"==": operand}, terms, [_bound(operand)])


def _is_in(field: str, operands: Collection[_Operand]) -> _Node:
    listed = sorted(set(operands), key=lambda operand: (isinstance(operand, str), operand))
    if len(listed) == 1:
        return _equals(field, listed[0])
    # One parameter, however many operands: the number of parameters is limited.
    terms = [f"{_extracted(field)} IN (SELECT value FROM json_each(?))"]  # noqa: S608 (the field is quoted)
    if any(_looks_like_container(operand) for operand in listed):
        terms.append(_not_container(field))
    return _leaf(field, {"in": listed}, terms, [json.dumps(listed, ensure_ascii=False)])


def _ranges(field: str, bounds: Mapping[str, _Operand], *, strings: bool) -> _Node:
    """Bounds of one type. To SQLite every string is greater than every number and less than every blob."""
    value = _extracted(field)
    terms = [f"{value} {operator} {_placeholder(operand)}" for operator, operand in bounds.items()]
    if strings:
        if not bounds.keys() & {">", ">="}:
            terms.append(f"{value} >= ''")
        terms.append(_not_container(field))
    elif not bounds.keys() & {"<", "<="}:
        terms.append(f"{value} < ''")
    return _leaf(field, bounds, terms, [_bound(operand) for operand in bounds.values()])


def _placeholder(operand: _Operand) -> str:
    # So that SQLite reads the decimal as it read that in the metadata: not every build rounds as Python does.
    return "json_extract(?, '$')" if isinstance(operand, float) else "?"


def _bound(operand: _Operand) -> str | int:
    return json.dumps(operand) if isinstance(operand, float) else operand


def _looks_like_container(operand: _Operand) -> bool:
    """Whether the JSON of a list or an object, which is what SQL extracts, could be equal to `operand`."""
    return isinstance(operand, str) and operand.startswith(("[", "{"))


def _is_string(field: str) -> str:
    return f"json_type(metadata, {_path(field)}) = 'text'"


def _not_container(field: str) -> str:
    """Neither list nor object; the document itself is read only where its value begins like one."""
    return f"(substr({_extracted(field)}, 1, 1) NOT IN ('[', '{{') OR {_is_string(field)})"


# ---------------------------------------------------------------------- parsing


class _Parser:
    """Turns one filter into a node. `negated` asks for the complement, carried down to the conditions."""

    def __init__(self, fields: Collection[str]) -> None:
        self._fields = fields
        self._conditions = 0

    def filter(self, where: Any, levels: int, *, negated: bool) -> _Node:
        if not isinstance(where, Mapping):
            raise InputError(
                f"a filter must be a mapping like {{'year': {{'>=': 1990}}}}, not {where!r:.100}."
            )
        if not where:
            raise InputError("a filter must not be empty; leave it out to get all documents.")
        if levels == 0:
            raise InputError(f"the filter is nested more than {MAX_DEPTH} levels deep; write it flatter.")
        nodes: list[_Node] = []
        for name, value in where.items():
            if name == "not":
                nodes.append(self.filter(value, levels - 1, negated=not negated))
            elif name in ("and", "or"):
                parts = [self.filter(part, levels - 1, negated=negated) for part in _parts(name, value)]
                nodes.append(_joined(_flipped(name) if negated else name, parts))
            else:
                nodes.append(self._field(name, value, negated=negated))
        return _joined("or" if negated else "and", nodes)

    def _field(self, name: Any, value: Any, *, negated: bool) -> _Node:
        if not isinstance(name, str) or name not in self._fields:
            raise _undeclared(name, self._fields)
        conditions = value if isinstance(value, Mapping) else {"==": value}
        if not conditions:
            raise InputError(
                f"the filter names no condition for {name!r}; to ask that it is there, use exists."
            )
        self._conditions += len(conditions)
        if self._conditions > MAX_CONDITIONS:
            raise InputError(
                f"the filter has more than {MAX_CONDITIONS} conditions; "
                "put the values of one field into one 'in', which takes any number."
            )
        return _joined("or" if negated else "and", _conditions(name, conditions, negated=negated))


def _conditions(field: str, conditions: Mapping[Any, Any], *, negated: bool) -> list[_Node]:
    """A node for each condition on `field`; the bounds of a range stay together, as the index wants them."""
    nodes = []
    bounds: dict[bool, dict[str, _Operand]] = {True: {}, False: {}}
    for operator, value in conditions.items():
        if operator in _RANGE_OPERATORS:
            operand = _range_operand(field, operator, value)
            bounds[isinstance(operand, str)][operator] = operand
        elif operator == "exists":
            nodes.append(_exists(field, _boolean(field, value) != negated))
        elif operator in ("==", "!="):
            node = _equals(field, _operand(field, operator, value))
            nodes.append(_complement(node) if negated != (operator == "!=") else node)
        elif operator in ("in", "not in"):
            node = _is_in(field, _operands(field, operator, value))
            nodes.append(_complement(node) if negated != (operator == "not in") else node)
        else:
            raise _unknown_operator(field, operator)
    for strings, group in bounds.items():
        if group:
            node = _ranges(field, group, strings=strings)
            nodes.append(_complement(node) if negated else node)
    return nodes


def _parts(word: str, value: Any) -> list[Any]:
    if not isinstance(value, list | tuple) or not value:
        raise InputError(f"{word!r} takes a list of at least one filter, not {value!r:.100}.")
    return list(value)


def _flipped(word: str) -> str:
    return "or" if word == "and" else "and"


def _operands(field: str, operator: str, value: Any) -> list[_Operand]:
    if isinstance(value, str | bytes | Mapping) or not isinstance(value, Iterable):
        raise InputError(f"{operator!r} takes a list of values for {field!r}, not {value!r:.100}.")
    return [_operand(field, operator, one) for one in value]


def _range_operand(field: str, operator: str, value: Any) -> _Operand:
    if isinstance(value, bool | np.bool_):
        raise InputError(f"{operator!r} takes a number or a string for {field!r}, not {value!r}.")
    return _operand(field, operator, value)


def _boolean(field: str, value: Any) -> bool:
    if not isinstance(value, bool | np.bool_):
        raise InputError(f"'exists' takes true or false for {field!r}, not {value!r:.100}.")
    return bool(value)


def _operand(field: str, operator: str, value: Any) -> _Operand:
    """`value` in the form in which equal values are the same."""
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, str):
        return _string(field, operator, value)
    if isinstance(value, float):
        if not math.isfinite(value):
            raise InputError(f"{operator!r} takes finite numbers for {field!r}, not {value!r}.")
        # Beyond the range of int64, SQL reads integers as floats.
        return int(value) if value.is_integer() and abs(value) < 2**63 else value
    if isinstance(value, int):
        if not -(2**63) <= value < 2**63:
            raise InputError(f"{operator!r} takes integers of at most 64 bits for {field!r}; use a float.")
        return int(value)
    raise InputError(_wrong_type(field, operator, value))


def _string(field: str, operator: str, value: str) -> str:
    try:
        value.encode()
    except UnicodeEncodeError:
        raise InputError(
            f"{operator!r} for {field!r} has a string with a lone surrogate; clean it."
        ) from None
    if "\0" in value:
        raise InputError(f"{operator!r} for {field!r} has a string with a NUL, at which SQL would end it.")
    # Of a subclass, only the string itself counts.
    return str.__str__(value)


def _wrong_type(field: str, operator: str, value: Any) -> str:
    kind = type(value).__name__
    if value is None:
        return f"{operator!r} takes no null for {field!r}; ask {{{field!r}: {{'exists': False}}}} instead."
    if isinstance(value, list | tuple | set | frozenset | np.ndarray):
        return f"{operator!r} takes one value for {field!r}, not a {kind}; for several, use 'in'."
    return f"{operator!r} takes strings, numbers and booleans for {field!r}, not {value!r:.100} ({kind})."


def _unknown_operator(field: str, operator: Any) -> InputError:
    return InputError(
        f"there is no filter operator {operator!r} (for {field!r}); {suggest(str(operator), _OPERATORS)}"
    )


def _undeclared(name: Any, fields: Collection[str]) -> InputError:
    known = suggest(str(name), fields) if fields else "no field is; declare it first."
    return InputError(f"the filter names the field {name!r}, which is not declared; {known}")
