"""A writer that is killed again and again, and what must be true each time its collection is opened again."""

from __future__ import annotations

import shutil
import time
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from llmhash.collection import Collection
from store_harness.documents import (
    ADD,
    COMPACT,
    DELETE,
    KINDS,
    UPSERT,
    Model,
    Operation,
    check_searches,
    create,
    difference,
    left_over_files,
)
from store_harness.points import run_until_line, run_until_point
from store_harness.processes import Worker

# The share of kills at any moment since the process began, rather than within an operation of a chosen kind.
_ANY_MOMENT = 0.2
_ANY_MOMENT_SECONDS = 0.3
# Kills fall from an operation's start to so many times its usual duration after it.
_BEYOND = 1.2
_DONE = "done"


class StoreError(AssertionError):
    """A collection that is not as it must be."""


@dataclass(frozen=True)
class Kill:
    """What a kill did.

    Attributes:
        during: The kind of the operation in flight, or "between" operations.
        outcome: "kept" or "undone" for an operation in flight, "-" between operations.
        acknowledged: Operations of each kind that the writer had acknowledged.
        documents: Documents afterwards.
    """

    during: str
    outcome: str
    acknowledged: Counter[str]
    documents: int


@dataclass
class Crashes:
    """Kills one writer after another over one collection.

    Attributes:
        path: The collection.
        numbers: At most so many documents.
        batch: Documents of an operation, at most.
        seed: Everything random but the scheduling of processes follows from it.
        model: What the collection should hold.
    """

    path: Path
    numbers: int
    batch: int
    seed: int
    model: Model = field(init=False)

    def __post_init__(self) -> None:
        self.model = Model(self.numbers)
        self._rng = np.random.default_rng(self.seed)
        self._durations = {kind: deque([0.005], maxlen=9) for kind in KINDS}
        create(self.path)

    def kill_once(self) -> Kill:
        """Start a writer, kill it, open the collection again and check everything.

        Raises:
            StoreError: Something was lost or torn.
        """
        writer = Worker(write, self.path, self.model, self.batch, int(self._rng.integers(2**32)))
        try:
            log = self._follow_until_kill(writer)
        finally:
            writer.kill()
        log += writer.messages()
        if writer.end() != -9:
            raise StoreError("the writer ended before it was killed")
        acknowledged: Counter[str] = Counter()
        for operation, done in zip(log[::2], log[1::2], strict=False):
            if done != _DONE:
                raise StoreError(f"{done!r} where an acknowledgement was expected")
            acknowledged[operation.kind] += 1
            self.model.apply(operation)
        in_flight = log[-1] if len(log) % 2 else None
        outcome = self._check(in_flight)
        during = "between" if in_flight is None else in_flight.kind
        return Kill(during, outcome, acknowledged, len(self.model))

    def fill(self) -> None:
        """Add documents, upsert some and delete some."""
        self._run(ADD, ADD, UPSERT, DELETE)

    def kill_at(self, kind: str, point: str) -> str:
        """Let a writer do an operation of that kind and kill itself at one of the kind's `POINTS`.

        Returns:
            "kept" or "undone".

        Raises:
            StoreError: Something was lost or torn, or the point was never reached.
        """
        operation = self.model.operation(kind, self._rng, self.batch)
        self._die(run_until_point, operation, point)
        return self._check(operation)

    def kill_before_line(self, kind: str, part: float) -> str:
        """The same, but when it has executed that part of the lines of the store's code, from 0 to 1."""
        operation = self.model.operation(kind, self._rng, self.batch)
        copy = shutil.copytree(self.path, self.path.with_name(f"{self.path.name} copy"))
        rehearsal = Worker(run_until_line, copy, operation, None)
        (lines,) = rehearsal.messages()
        rehearsal.end()
        shutil.rmtree(copy)
        self._die(run_until_line, operation, int(part * lines))
        return self._check(operation)

    def finish(self) -> None:
        """Write on and compact; then no file of an earlier generation is left.

        Raises:
            StoreError: Something was lost or torn.
        """
        self._run(ADD, DELETE, COMPACT)
        self._check(None)
        with Collection.open(self.path) as collection:
            left_over = left_over_files(collection)
        if left_over:
            raise StoreError(f"files are left over: {', '.join(left_over)}")

    def _run(self, *kinds: str) -> None:
        with Collection.open(self.path) as collection:
            for kind in kinds:
                operation = self.model.operation(kind, self._rng, self.batch)
                operation.run(collection)
                self.model.apply(operation)

    def _die(self, function: Callable[..., None], operation: Operation, where: str | int) -> None:
        writer = Worker(function, self.path, operation, where)
        sent = list(writer.messages())
        if writer.end() != -9:
            raise StoreError(f"the writer was not killed; it sent {sent}")

    def _follow_until_kill(self, writer: Worker) -> list[Any]:
        """The messages until it is time to kill."""
        if self._rng.random() < _ANY_MOMENT:
            time.sleep(self._rng.uniform(0, _ANY_MOMENT_SECONDS))
            return []
        wanted, least = str(self._rng.choice(KINDS)), int(self._rng.integers(0, 6))
        log: list[Any] = []
        began = 0.0
        for message in writer.messages():
            log.append(message)
            if message == _DONE:
                self._durations[log[-2].kind].append(time.perf_counter() - began)
                continue
            began = time.perf_counter()
            if message.kind == wanted and len(log) > 2 * least:
                break
        time.sleep(self._rng.uniform(0, _BEYOND * median(self._durations[wanted])))
        return log

    def _check(self, in_flight: Operation | None) -> str:
        """Check the collection, adopt what became of the operation in flight, and say what that is."""
        # A reader comes first half of the time, so that it cannot rely on a writer that cleans up.
        readonly = bool(self._rng.integers(2))
        with Collection.open(self.path, readonly=readonly) as collection:
            collection.verify()
            found = difference(collection, self.model)
            outcome = "-" if in_flight is None else "undone"
            if found is not None and in_flight is not None:
                before, outcome = found, "kept"
                self.model.apply(in_flight)
                found = difference(collection, self.model)
                if found is not None:
                    found = f"without the {in_flight.kind} in flight: {before}; with it: {found}"
            if found is not None:
                raise StoreError(found)
            check_searches(collection, self.model, self._rng)
        return outcome


def write(path: Path, model: Model, batch: int, seed: int, send: Callable[[Any], None]) -> None:
    """Do random operations for ever; each is sent before it begins and acknowledged when it is done."""
    rng = np.random.default_rng(seed)
    with Collection.open(path) as collection:
        while True:
            operation = model.next_operation(rng, batch)
            send(operation)
            operation.run(collection)
            model.apply(operation)
            send(_DONE)
