"""What a token head's fit trains: its convolutions, and what objectives look at."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from llmhash.encoders.base import TokenFeatures
from llmhash.errors import InputError
from llmhash.heads.base import FloatArray
from llmhash.heads.network_student import Latents, Look, Student
from llmhash.heads.tokens import TokenHead, spread
from llmhash.heads.tokens_options import TokenOptions
from llmhash.objectives.base import View


class TokenStudent(Student):
    """The token head in training: see `llmhash.heads.tokens`.

    Args:
        sample: Some texts. Tokens are centred and scaled by them; the filters' values and the logits start
            centred, with unit variance over them.
        bits: Bits in a code.
        options: Windows, channels, and how logits become codes.
        seed: Decides the first weights.
    """

    def __init__(self, sample: TokenFeatures, bits: int, options: TokenOptions, *, seed: int) -> None:
        super().__init__()
        self.latents = Latents(options)
        self._reach = max(options.windows) // 2
        self._mean: FloatArray = sample.values.mean(axis=0, dtype=np.float32)
        deviation = float(np.sqrt(np.square(sample.values - self._mean).mean()))
        self._scale = 1.0 / deviation if deviation > 0 else 1.0
        channels = options.channels
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.filters = nn.ParameterList(
                torch.randn(window, sample.dim, channels) / (window * sample.dim) ** 0.5
                for window in options.windows
            )
            self.output = nn.Linear(channels * len(options.windows), bits)
        self.biases = nn.ParameterList(torch.zeros(channels) for _ in options.windows)
        self._standardize(sample)

    def forward(self, inputs: TokenFeatures | Tensor, look: Look) -> View:
        """The view of some texts; its locals are the tokens' logits.

        Raises:
            InputError: The inputs are no token features.
        """
        if not isinstance(inputs, TokenFeatures):
            raise InputError(
                "an objective corrupts its inputs, which the head tokens cannot take; leave it out."
            )
        logits, mask = self._locals(inputs)
        length = mask.sum(dim=1, keepdim=True).clamp(min=1)
        return self.latents.view(logits.sum(dim=1) / length, look, parts=logits, mask=mask)

    def head(self) -> TokenHead:
        """The head, for tokens as the encoder gives them."""

        def plain(parameter: Tensor) -> FloatArray:
            array: FloatArray = parameter.detach().float().cpu().numpy().copy()
            return array

        return TokenHead(
            self._mean,
            tuple(plain(bank * self._scale) for bank in self.filters),
            tuple(plain(bias) for bias in self.biases),
            plain(self.output.weight),
            plain(self.output.bias),
        )

    def _locals(self, features: TokenFeatures) -> tuple[Tensor, Tensor]:
        """Tokens' logits float32 (n, t, bits), zero where `mask`, bool (n, t), says that there is none."""
        lengths = torch.from_numpy(features.lengths)
        mask = (torch.arange(max(1, int(lengths.max()))) < lengths[:, None]).to(self.output.weight.device)
        hidden = [torch.relu(values) for values in self._convolve(features)]
        logits = self.output(torch.cat(hidden, dim=1)).float()
        padded = logits.new_zeros((*mask.shape, logits.shape[1]))
        return padded.masked_scatter(mask[..., None], logits), mask

    def _convolve(self, features: TokenFeatures) -> list[Tensor]:
        """For each window, every token's values before the relu, (T, channels)."""
        spread_out, places = spread(features, self._mean, self._reach)
        device = self.output.weight.device
        values = torch.from_numpy(spread_out).to(device) * self._scale
        rows = torch.from_numpy(places - self._reach).to(device)
        count = len(values) - 2 * self._reach
        found = []
        for bank, bias in zip(self.filters, self.biases, strict=True):
            window, dim, channels = bank.shape
            products = (values @ bank.transpose(0, 1).reshape(dim, -1)).view(-1, window, channels)
            first = self._reach - window // 2
            total = bias + products[first : first + count, 0]
            for tap in range(1, window):
                total = total + products[first + tap : first + tap + count, tap]
            found.append(total[rows])
        return found

    @torch.no_grad()
    def _standardize(self, sample: TokenFeatures) -> None:
        for bank, bias, values in zip(self.filters, self.biases, self._convolve(sample), strict=True):
            deviation = float(values.std(dim=0).square().mean().sqrt()) if len(values) > 1 else 0.0
            factor = 1.0 / deviation if deviation > 0 else 1.0
            bank.mul_(factor)
            bias.copy_(-values.mean(dim=0) * factor)
        self.output.bias.zero_()
        locals_, mask = self._locals(sample)
        means = locals_.sum(dim=1) / mask.sum(dim=1, keepdim=True).clamp(min=1)
        deviation = float(means.std(dim=0).square().mean().sqrt()) if len(means) > 1 else 0.0
        factor = 1.0 / deviation if deviation > 0 else 1.0
        self.output.weight.mul_(factor)
        self.output.bias.copy_(-means.mean(dim=0) * factor)
