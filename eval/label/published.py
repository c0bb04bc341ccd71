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

_SAMPLE = (
    "the sample is a sixth of the set, and what learns from words gains with its size: VDSH of 64 bits 0.09 "
    "from 10,000 to the sample's 21,819 documents, as is shown above"
)
_OWN_RUN = "the published figure is the survey's own run, of one setting, and with its own preprocessing"
_SPLIT = (
    "preprocessing and split are not the paper's (of the messages' headers only the subject is left here)"
)
_REASONS = {
    ("20newsgroups", "vdsh"): (
        f"the divergence's weight stays small here, where theirs falls off at 64 bits; {_SPLIT}"
    ),
    ("20newsgroups", "nash"): (
        "not found; on validation documents it levels off at 0.53 after 600 of 1,500 steps, so more time "
        f"does not help, and without dropout and noise it reaches 0.48; {_SPLIT}"
    ),
    ("20newsgroups", "wish"): (
        f"from 32 bits on {_OWN_RUN}; up to 12 bits it is the WISH paper's, of two layers of 1,000 "
        "units, where training was cut short here"
    ),
    ("20newsgroups", "smash"): _OWN_RUN,
    ("agnews", "dhim"): (
        "MiniLM in place of BERT, 64 channels a window, minutes of training; the sample is a sixth of the "
        "set, and the embeddings' own floats gain 0.02 with a doubling"
    ),
}


def reason(data: str, method: str) -> str:
    """Why a method's figure on a set differs from the published one, as far as it is known."""
    if (data, method) in _REASONS:
        return _REASONS[data, method]
    if data == "agnews":
        return _SAMPLE
    return "not looked into; preprocessing and split are not the paper's"
