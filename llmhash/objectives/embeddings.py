"""The Gaussian decoder: what a code must tell of its text's embedding."""

from __future__ import annotations

from torch import Tensor, nn

from llmhash.objectives.base import Batch, Objective, Shapes, number


class Embeddings(Objective):
    """The embeddings' negative log-likelihood under a Gaussian around a linear map (DHIM paper, eq. 4).

        L = (1/n) sum_i ||x_i - W z_i - c||^2 / (2 sigma^2)

    up to `d/2 log(2 pi sigma^2)`, which is constant. The paper leaves c out for brevity.

    Args:
        shapes: What it is built for.
        sigma: The Gaussian's spread in a dimension: smaller makes reconstruction weigh more.
    """

    needs = frozenset({"embeddings"})

    def __init__(self, shapes: Shapes, *, sigma: float = 1.0) -> None:
        super().__init__()
        self._sigma = number("sigma", sigma, above=True)
        self.decoder = nn.Linear(shapes.bits, shapes.width("embeddings"))

    def forward(self, batch: Batch) -> Tensor:
        """See the class."""
        errors: Tensor = batch.targets["embeddings"] - self.decoder(batch.view.latent)
        return errors.square().sum(dim=1).mean() / (2.0 * self._sigma**2)
