"""The names in a state dict are a promise to everyone who has saved one: state_dict_names.json pins them.

For a new model, or a break that is meant, ``python tests/backbones/test_state_dict.py`` writes the file anew.
"""

import json
import re
from pathlib import Path

import pytest
import torch

from hybridvit.backbones.variants import VARIANTS, usual_image_size
from hybridvit.models import create_model

PINNED = Path(__file__).parent / "state_dict_names.json"
INDEX = re.compile(r"(?<=\.)\d+(?=\.)|(?<=denseblock)\d+|(?<=denselayer)\d+|(?<=transition)\d+")


def names_of(variant):
    """Names of its tensors with ``*`` for the indices of blocks, and how many tensors there are."""
    with torch.device("meta"):
        state = create_model(variant, image_size=usual_image_size(variant)).state_dict()
    return sorted({INDEX.sub("*", name) for name in state}), len(state)


def pinned():
    """variant -> (names, number of tensors)."""
    groups = json.loads(PINNED.read_text())
    return {variant: (group["names"], count) for group in groups for variant, count in group["tensors"].items()}


def check_same_names(found, expected, variant):
    added, removed = sorted(set(found) - set(expected)), sorted(set(expected) - set(found))
    assert (added, removed) == ([], []), f"the state dict of {variant}: added {added}, removed {removed}"


def test_every_variant_is_pinned_and_no_other():
    assert sorted(pinned()) == list(VARIANTS)


@pytest.mark.parametrize("variant", VARIANTS)
def test_names_are_the_pinned_ones(variant):
    names, count = names_of(variant)
    expected, tensors = pinned()[variant]
    check_same_names(names, expected, variant)
    assert count == tensors


def test_a_failure_names_what_changed():
    with pytest.raises(AssertionError, match=r"of vit: added \['backbone.new'\], removed \['backbone.old'\]"):
        check_same_names(["backbone.new", "head.bias"], ["backbone.old", "head.bias"], "vit")


if __name__ == "__main__":
    groups: dict[tuple[str, ...], dict[str, int]] = {}
    for variant in VARIANTS:
        names, count = names_of(variant)
        groups.setdefault(tuple(names), {})[variant] = count
    rows = [{"tensors": tensors, "names": list(names)} for names, tensors in groups.items()]
    PINNED.write_text(json.dumps(rows, indent=1) + "\n")
