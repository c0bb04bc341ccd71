"""The distill head: an affine map trained until its bits rank the corpus as the teacher's floats do.

For a training query q and candidate documents d_j, the target is the teacher's distribution
`P = softmax(q . d_j / T)`, mixed with the document that q was cut from. It is matched (KL, see
`llmhash.objectives.similarity`) by two scores of one student, those that it is used with:

    asymmetric   s_j = alpha / b * z(q) . sign z(d_j)
    symmetric    s_j = beta / b * sign z(q) . sign z(d_j)

with logits `z(x) = W (x - mean) + c`, learned scales alpha and beta, and an estimator of `llmhash.binarize`
behind each sign. Queries are the pseudo-queries and the documents themselves, each of those without itself
among the candidates. Candidates are all documents, or in a large corpus the batch's nearest ones and a
random sample that stands, weighted, for the rest. It starts from ITQ. At the end a codebook takes over the
codes and the asymmetric score (see `llmhash.heads.codebook`), and the queries' side is trained on its codes;
of a large corpus held-out queries choose what serves them (see `llmhash.heads.codebook_choice`).

A nested head's loss is the mean over its widths, each prefix of the code being scored with scales of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from llmhash.binarize import estimator, signs
from llmhash.codes import check_bits
from llmhash.errors import InputError
from llmhash.heads.affine import AffineHead
from llmhash.heads.base import FloatArray, TrainingFeatures
from llmhash.heads.codebook_anchors import with_anchors
from llmhash.heads.codebook_choice import Judge, best_of_large
from llmhash.heads.distance_codebook import are_known, fit_held_codebook
from llmhash.heads.nested import nested_itq, nested_widths
from llmhash.heads.projection import START_ROWS, itq_start, random_rotation
from llmhash.heads.query_space import QuerySpace
from llmhash.heads.ranking import Ranking, RankingBatch, RankingSettings
from llmhash.objectives.balance import bit_balance, decorrelation
from llmhash.objectives.similarity import listwise_kl
from llmhash.training import TrainingPlan, train

#: When codes get a codebook.
CODEBOOK_USES = ("auto", "always", "never")
_NOT_NEGATIVE = ("asymmetric", "symmetric", "balance", "decorrelation", "query_noise")


@dataclass(frozen=True)
class DistillOptions:
    """Every setting of the distill head.

    Attributes:
        temperature: T of the teacher's distribution. Lower trusts only the nearest documents, higher also
            shapes the far ranking, at the price of the top ten.
        asymmetric: Weight of the asymmetric score's loss.
        symmetric: Weight of the Hamming score's loss. As much as the asymmetric one's costs both scorings; 0
            costs Hamming.
        balance: Weight of the bit balance. Matching the teacher balances bits by itself.
        decorrelation: Weight of the bits' decorrelation; likewise.
        estimator: Through the step: one of `llmhash.binarize.ESTIMATORS`.
        gamma: How fast the estimator's tanh hardens: `beta = sqrt(1 + gamma * step)`.
        source_share: What the document that a pseudo-query was cut from gets of the target, beside the
            teacher's distribution. The teacher ranks it first only if the cut is typical; a real query comes
            with a document that answers it.
        document_share: Share of training queries that are documents; 1 where there are no other queries.
        query_noise: Norm of the Gaussian noise added to each training query, relative to its own.
        steps: Updates at most.
        batch_size: Queries in a batch.
        learning_rate: Adam's peak. Logits start with unit variance, so weights are of order 1 and more.
        average: Decay of the weights' moving average; 0 for none.
        validate_every: Steps between validations on held-out queries, which choose the weights to keep.
        patience: Validations without a new best before training stops; 0 never stops early.
        max_seconds: Wall-clock budget of the training steps; None has none.
        candidates: Documents that a batch is ranked over. All, where the corpus has no more.
        neighbours: Mined neighbours of each query among them, in a larger corpus.
        max_documents: Documents of which a larger corpus's candidates come: a seeded sample.
        max_queries: Training queries of each kind, given ones and documents, in a larger corpus, where their
            neighbours have to be mined: a seeded sample.
        validation_queries: Queries held out at most; a tenth of them where that is less.
        codebook: Whether documents' codes are chosen, and asymmetrically scored, by an additive codebook over
            their bytes (see `llmhash.heads.codebook`): "auto", of more than 25,000 documents where held-out
            queries find more by both scores, and of more than 100,000 up to 128 bits; "always"; or "never".
            Codes of whole bytes only, and none that is nested.
        pull: How strongly the codebook holds codes to the signs of the logits, for Hamming distance's sake; 0
            gives codes for the asymmetric scan alone. None takes less the larger the corpus: 0.1, above
            25,000 documents 0.01, above 100,000 0.005.
        nested: Widths whose first bits are to be good codes by themselves, beside all bits; those that are
            not below the code's are left out.
        device: Where to train: "cpu", "cuda", ...
    """

    temperature: float = 0.025
    asymmetric: float = 1.0
    symmetric: float = 0.3
    balance: float = 0.0
    decorrelation: float = 0.0
    estimator: str = "straight_through_tanh"
    gamma: float = 0.05
    source_share: float = 0.4
    document_share: float = 0.5
    query_noise: float = 0.0
    steps: int = 800
    batch_size: int = 128
    learning_rate: float = 0.03
    average: float = 0.0
    validate_every: int = 100
    patience: int = 4
    max_seconds: float | None = None
    candidates: int = 8192
    neighbours: int = 32
    max_documents: int = 200_000
    max_queries: int = 10_000
    validation_queries: int = 512
    codebook: str = "auto"
    pull: float | None = None
    nested: Sequence[int] = ()
    device: str = "cpu"

    def __post_init__(self) -> None:
        if self.codebook not in CODEBOOK_USES:
            raise InputError(f"codebook must be one of {', '.join(CODEBOOK_USES)}, not {self.codebook!r}.")
        for name in _NOT_NEGATIVE:
            if not getattr(self, name) >= 0:
                raise InputError(f"{name} must be at least 0, not {getattr(self, name)}.")
        if self.pull is not None and not self.pull >= 0:
            raise InputError(f"pull must be at least 0, not {self.pull}.")
        for name in ("candidates", "neighbours", "max_documents", "max_queries", "validation_queries"):
            if getattr(self, name) < 1:
                raise InputError(f"{name} must be at least 1, not {getattr(self, name)}.")
        if not self.temperature > 0:
            raise InputError(f"temperature must be above 0, not {self.temperature}.")
        for name in ("source_share", "document_share"):
            if not 0 <= getattr(self, name) <= 1:
                raise InputError(f"{name} must be from 0 to 1, not {getattr(self, name)}.")
        if self.asymmetric == 0 and self.symmetric == 0:
            raise InputError("asymmetric and symmetric are both 0: there is nothing to learn.")
        estimator(self.estimator, self.gamma)
        nested_widths(self.nested, 1)
        self.plan()

    def ranking(self) -> RankingSettings:
        """What the ranking is told."""
        return RankingSettings(
            temperature=self.temperature,
            source_share=self.source_share,
            document_share=self.document_share,
            candidates=self.candidates,
            neighbours=self.neighbours,
            max_documents=self.max_documents,
            max_queries=self.max_queries,
            held_out=self.validation_queries,
        )

    def plan(self) -> TrainingPlan:
        """What the training loop is told."""
        return TrainingPlan(
            steps=self.steps,
            batch_size=self.batch_size,
            learning_rate=self.learning_rate,
            validate_every=self.validate_every,
            patience=self.patience,
            average=self.average,
            max_seconds=self.max_seconds,
        )


def fit_distill(
    features: TrainingFeatures,
    bits: int,
    *,
    seed: int = 0,
    options: DistillOptions | None = None,
    progress: Callable[[int, int, str], None] | None = None,
) -> AffineHead:
    """Distill the teacher's ranking into `bits` bits, any number of them.

    Args:
        features: The teacher's embeddings, compared by dot product; queries are optional.
        bits: Bits in a code.
        seed: Decides everything random.
        options: Settings; None takes the defaults.
        progress: Called with (step, steps, message).

    Raises:
        InputError: `bits` is not from 1 to 4096, or training diverged.
    """
    options = options or DistillOptions()
    widths = nested_widths(options.nested, check_bits(bits))
    student = _Student(initial_projection(features, bits, seed, widths), widths).to(options.device)
    ranking = Ranking(features, options.ranking(), seed=seed, device=options.device)
    student.standardize(ranking.documents)
    objective = _Objective(student, ranking, options, seed)
    train(
        student,
        objective.loss,
        len(ranking.training),
        options.plan(),
        seed=seed,
        weights=ranking.training.weights,
        validate=objective.validate,
        progress=progress,
    )
    differ = features.query_statistics is not None
    head = student.head(ranking.unit, ranking.document_mean, ranking.query_mean if differ else None)
    if options.codebook == "never" or bits % 8 or len(widths) > 1:
        return head
    if are_known(len(features.documents)):
        return _of_known_documents(head, features, ranking, options, seed, progress)
    return best_of_large(
        head,
        features,
        Judge(ranking, options.asymmetric, options.symmetric),
        pull=options.pull,
        always=options.codebook == "always",
        seed=seed,
        progress=progress,
    )


def _of_known_documents(
    head: AffineHead,
    features: TrainingFeatures,
    ranking: Ranking,
    options: DistillOptions,
    seed: int,
    progress: Callable[[int, int, str], None] | None,
) -> AffineHead:
    """The head with a codebook of documents few enough for it to know each, and with anchors for queries."""
    documents = features.documents[ranking.rows]
    space = QuerySpace.fit(features, head.bits)
    book = fit_held_codebook(space, documents, head, pull=options.pull, seed=seed, progress=progress)
    coded = replace(head, codebook=book)
    codes = coded.document_codes(documents)
    return with_anchors(coded, codes, ranking, seed=seed, progress=progress)


def initial_projection(
    features: TrainingFeatures, bits: int, seed: int, widths: Sequence[int] = ()
) -> NDArray[np.float64]:
    """Where training starts, (bits, dim): ITQ, or random rotations on end for more bits than dimensions.

    With several `widths`, ITQ within the principal components of each block between them.
    """
    if len(widths) > 1:
        return nested_itq(features, widths, seed=seed, max_rows=START_ROWS)
    if bits <= features.dim:
        return itq_start(features.documents, bits, seed=seed).weight.astype(np.float64)
    rng = np.random.default_rng(seed)
    rotations = [random_rotation(features.dim, rng) for _ in range(-(-bits // features.dim))]
    return np.concatenate(rotations)[:bits]


class _Student(nn.Module):
    """Logits of centred features, and the scales of the two scores at each width."""

    def __init__(self, weight: NDArray[np.float64], widths: Sequence[int]) -> None:
        super().__init__()
        self.widths = tuple(widths)
        self.weight = nn.Parameter(torch.from_numpy(weight.astype(np.float32)))
        self.bias = nn.Parameter(torch.zeros(len(weight)))
        # Logarithms of alpha and beta: scores then span a range like the teacher's similarities over T.
        self.log_scales = nn.Parameter(torch.full((len(widths), 2), float(np.log(16.0))))

    def standardize(self, centred: Tensor) -> None:
        """Scale the weights so that logits have unit variance; learning rates then carry over."""
        with torch.no_grad():
            spread = float(self(centred[:START_ROWS]).square().mean().sqrt())
            if spread > 0:
                self.weight.div_(spread)

    def forward(self, centred: Tensor) -> Tensor:
        logits: Tensor = torch.nn.functional.linear(centred, self.weight, self.bias)
        return logits

    def head(self, unit: float, document_mean: Tensor, query_mean: Tensor | None) -> AffineHead:
        """The head for features as the teacher gives them: neither in units nor centred."""
        weight, bias = self.weight.detach().double().cpu(), self.bias.detach().double().cpu()

        def folded(mean: Tensor) -> FloatArray:
            values: FloatArray = (bias - weight @ mean.double().cpu()).float().numpy()
            return values

        return AffineHead(
            (weight / unit).float().numpy(),
            folded(document_mean),
            query_bias=None if query_mean is None else folded(query_mean),
        )


class _Objective:
    """The loss of a batch, and of the held-out queries."""

    def __init__(self, student: _Student, ranking: Ranking, options: DistillOptions, seed: int) -> None:
        self._student, self._ranking, self._options, self._seed = student, ranking, options, seed
        self._estimate = estimator(options.estimator, options.gamma)
        self._generator = torch.Generator().manual_seed(seed)

    def loss(self, items: Tensor, step: int) -> Tensor:
        """Both scores' losses and the codes' own, for training queries."""
        options = self._options
        batch = self._ranking.batch(self._ranking.training, items, self._generator, options.query_noise)
        codes = self._estimate(self._student(batch.documents), step)
        query_logits = self._student(batch.queries)
        total = self._match(batch, query_logits, self._estimate(query_logits, step), codes)
        if options.balance:
            total = total + options.balance * bit_balance(codes)
        if options.decorrelation:
            total = total + options.decorrelation * decorrelation(codes)
        return total

    def validate(self) -> float:
        """The same for held-out queries, with exact signs and always the same candidates."""
        generator = torch.Generator().manual_seed(self._seed)
        held_out, total = self._ranking.held_out, 0.0
        for items in torch.split(torch.arange(len(held_out)), self._options.batch_size):
            batch = self._ranking.batch(held_out, items, generator)
            logits = self._student(batch.queries)
            value = self._match(batch, logits, signs(logits), signs(self._student(batch.documents)))
            total += value.item() * len(items)
        return total / len(held_out)

    def _match(self, batch: RankingBatch, logits: Tensor, query_codes: Tensor, codes: Tensor) -> Tensor:
        widths = self._student.widths
        total = codes.new_zeros(())
        for kind, (weight, side) in enumerate(
            ((self._options.asymmetric, logits), (self._options.symmetric, query_codes))
        ):
            if not weight:
                continue
            products: Tensor | float = 0.0
            for level, (first, last) in enumerate(pairwise((0, *widths))):
                # A prefix's products are those of the prefix before, and of the bits between them.
                between = side[:, first:last] @ codes[:, first:last].T
                products = products + between if first else between
                scale = self._student.log_scales[level, kind].exp() / last
                loss = listwise_kl(batch.mask(scale * products), batch.targets)
                total = total + weight / len(widths) * loss
        return total
