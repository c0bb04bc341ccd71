"""Precision@100 as published, by set, method and bits: the survey's tables 4 and 5, with its own runs."""

from __future__ import annotations

#: Set -> method -> bits -> Precision@100 on words (DHIM: on BERT's tokens, its own paper's table).
PUBLISHED: dict[str, dict[str, dict[int, float]]] = {
    "20newsgroups": {
        "vdsh": {16: 0.390, 32: 0.433, 64: 0.173},
        "nash": {16: 0.531, 32: 0.623, 64: 0.538},
        "wish": {16: 0.360, 32: 0.382, 64: 0.358},
        "smash": {16: 0.342, 32: 0.360, 64: 0.408},
    },
    "agnews": {
        "vdsh": {16: 0.789, 32: 0.811, 64: 0.819},
        "nash": {16: 0.710, 32: 0.756, 64: 0.775},
        "wish": {16: 0.755, 32: 0.758, 64: 0.739},
        "smash": {16: 0.750, 32: 0.763, 64: 0.798},
        "dhim": {16: 0.782, 32: 0.792, 64: 0.789},
    },
    "reuters21578": {
        "vdsh": {16: 0.717, 32: 0.775, 64: 0.746},
        "nash": {16: 0.762, 32: 0.799, 64: 0.781},
        "wish": {16: 0.713, 32: 0.727, 64: 0.704},
        "smash": {16: 0.701, 32: 0.706, 64: 0.739},
    },
}
#: The best unsupervised figure of the survey at 64 bits.
BEST_64 = {"20newsgroups": 0.666, "agnews": 0.849, "reuters21578": 0.856}
#: The WISH paper's own figures at few bits.
FEW_BITS = {
    "reuters21578": {4: 0.664, 8: 0.768, 12: 0.797},
    "20newsgroups": {4: 0.354, 8: 0.519, 12: 0.539},
    "agnews": {4: 0.769, 8: 0.791, 12: 0.807},
}
