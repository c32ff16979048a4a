"""The attentions that a block may have, each derived from MHSA or PSA: each kind once, by its name."""

from typing import Literal

from hybridvit.layers.attention import MHSA
from hybridvit.layers.gpsa import GPSA
from hybridvit.layers.lsa import LSA
from hybridvit.layers.psa import PSA
from hybridvit.layers.talking_heads import TalkingHeads

AttentionKind = Literal["mhsa", "gpsa", "psa", "lsa", "talking_heads"]

ATTENTION: dict[AttentionKind, type[MHSA] | type[PSA]] = {
    "mhsa": MHSA,
    "gpsa": GPSA,
    "psa": PSA,
    "lsa": LSA,
    "talking_heads": TalkingHeads,
}
POSITIONAL = tuple(kind for kind, layer in ATTENTION.items() if issubclass(layer, PSA))  # with positions of their own
