"""SMASH's code balance: the bits and the pairs of bits that are worst over the corpus weigh most."""

from __future__ import annotations

import torch
from torch import Tensor

from llmhash.objectives.base import Batch, Objective, Shapes, number


class DynamicBalance(Objective):
    """Bit balance and decorrelation under weights from a memory of recent codes (SMASH; eq. 35).

        L = u / b sum_k alpha_k |sum_i z_ik| + v / b^2 ||Lambda * (Z^T Z / n - I)||_F^2
        alpha = softmax_k(|m_k| / T),    Lambda_k = softmax_l(|C_kl - I_kl| / T)

    with z the codes, `*` by elements, and m (b,) and C (b, b) the mean and the mean outer product of the
    codes in memory, which holds the signs of each document's latest. The sum over the batch is the survey's:
    the balance's weight grows with the batch.

    Of the weights the survey says only that they are "learned from a global distribution". Softmax and memory
    follow the authors' program but for two things. It takes alpha's softmax of sums, which leaves all weight
    on one bit; of means, T decides. And its memory reaches further back the lower the loss is; here `window`
    decides. A batch enters the memory before the weights are computed; in eval mode the memory is read only.

    Args:
        shapes: What it is built for.
        balance: u, the weight of the bits' balance.
        decorrelation: v, the weight of their decorrelation.
        window: How far back the memory reaches, in epochs: documents seen longer ago are forgotten.
        temperature: T: near 0 the worst counts alone, for large T all count alike.
    """

    memory: Tensor
    last_seen: Tensor
    seen: Tensor
    total: Tensor
    products: Tensor

    def __init__(
        self,
        shapes: Shapes,
        *,
        balance: float = 1.0,
        decorrelation: float = 0.01,
        window: float = 0.5,
        temperature: float = 0.1,
    ) -> None:
        super().__init__()
        self._balance = number("balance", balance)
        self._decorrelation = number("decorrelation", decorrelation)
        self._temperature = number("temperature", temperature, above=True)
        self._window = max(1, round(number("window", window, above=True) * shapes.documents))
        # Zeros stand for a document that is not in memory.
        self.register_buffer("memory", torch.zeros(shapes.documents, shapes.bits, dtype=torch.int8))
        self.register_buffer("last_seen", torch.full((shapes.documents,), -1, dtype=torch.int64))
        self.register_buffer("seen", torch.zeros((), dtype=torch.int64))
        # Sums over the memory, kept up to date. They are whole: float32 is exact to 16 million documents.
        self.register_buffer("total", torch.zeros(shapes.bits))
        self.register_buffer("products", torch.zeros(shapes.bits, shapes.bits))

    def forward(self, batch: Batch) -> Tensor:
        """See the class."""
        codes = batch.view.codes
        count, bits = codes.shape
        if self.training:
            self._remember(batch.rows, batch.view.logits)
        alpha, mutual = self.weights()
        identity = torch.eye(bits, device=codes.device)
        balance = (alpha * codes.sum(dim=0).abs()).sum() / bits
        correlation = mutual * (codes.T @ codes / count - identity)
        return self._balance * balance + self._decorrelation * correlation.square().sum() / bits**2

    @torch.no_grad()
    def weights(self) -> tuple[Tensor, Tensor]:
        """The weights alpha (b,) and Lambda (b, b) of the codes in memory; all alike while it is empty."""
        held = max(1, int((self.last_seen >= 0).sum()))
        identity = torch.eye(len(self.total), device=self.total.device)
        offset = (self.products / held - identity).abs()
        alpha = torch.softmax((self.total / held).abs() / self._temperature, dim=0)
        return alpha, torch.softmax(offset / self._temperature, dim=1)

    @torch.no_grad()
    def _remember(self, rows: Tensor, logits: Tensor) -> None:
        """Put a batch's codes in the place of its documents' older ones, and forget what is too old."""
        self.seen += len(rows)
        distinct = rows.unique()  # type: ignore[no-untyped-call]
        self._count(distinct, -1)
        self.memory[rows] = torch.where(logits > 0, 1, -1).to(torch.int8)
        self._count(distinct, 1)
        self.last_seen[rows] = self.seen
        old = torch.nonzero((self.last_seen >= 0) & (self.last_seen <= self.seen - self._window)).flatten()
        self._count(old, -1)
        self.memory[old] = 0
        self.last_seen[old] = -1

    def _count(self, rows: Tensor, sign: int) -> None:
        codes = self.memory[rows].float()
        self.total += sign * codes.sum(dim=0)
        # Autocast would round the products.
        with torch.autocast(codes.device.type, enabled=False):
            self.products += sign * (codes.T @ codes)
