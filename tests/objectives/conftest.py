"""A small batch with everything that an objective may need, and a student to make it."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import torch

from llmhash.objectives.base import Batch, Shapes, View

BITS, DIM, PARTS = 6, 10, 4
WIDTHS = {"words": 12, "embeddings": 5, "labels": 4, "summary": 7}


class Student(torch.nn.Module):
    """One layer and tanh; `parts` gives the local logits of a fixed number of a text's parts."""

    def __init__(self, bits: int = BITS) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(DIM, bits)
        self.parts = torch.nn.Linear(DIM, PARTS * bits)
        self.log_variance = torch.nn.Linear(DIM, bits)
        self.hidden = torch.nn.Linear(DIM, 8)

    def forward(self, inputs: torch.Tensor) -> View:
        logits = self.layer(inputs)
        codes = torch.tanh(logits)
        mask = torch.ones(len(inputs), PARTS, dtype=torch.bool)
        mask[::2, -1] = False
        return View(
            logits=logits,
            latent=codes,
            codes=codes,
            log_variance=self.log_variance(inputs),
            locals=self.parts(inputs).view(len(inputs), PARTS, -1),
            mask=mask,
            hidden=torch.tanh(self.hidden(inputs)),
        )


@dataclass
class Case:
    """A batch, what it was made by, and the shapes to build objectives for."""

    batch: Batch
    student: Student
    shapes: Shapes


@pytest.fixture
def make_case():
    def make(count: int = 5, bits: int = BITS, documents: int = 40) -> Case:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            student = Student(bits)
            inputs, queries = torch.randn(count, DIM), torch.randn(count, DIM)
            targets = {name: torch.rand(count, width) for name, width in WIDTHS.items() if name != "labels"}
            targets["labels"] = torch.rand(count, WIDTHS["labels"]) < 0.3
            rows = torch.randperm(documents)[:count]
        batch = Batch(
            rows=rows,
            inputs=inputs,
            view=student(inputs),
            targets=targets,
            queries=student(queries),
            encode=student,
            step=3,
            steps=10,
            generator=torch.Generator().manual_seed(1),
        )
        return Case(batch, student, Shapes(bits, DIM, WIDTHS, documents))

    return make
