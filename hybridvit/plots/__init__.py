"""Every figure of a report, for light and dark pages; numpy and matplotlib only."""

from hybridvit.plots.attention import by_layer, heat
from hybridvit.plots.conflict import conflict_course, conflict_map
from hybridvit.plots.effects import effect_bars
from hybridvit.plots.gates import gate_curves, over_training
from hybridvit.plots.learning import equivalence_bars, learning_curves
from hybridvit.plots.pictures import class_colours, encode_png, enlarged, to_rgb, with_mask
from hybridvit.plots.tasks import Line, curves, delta_forest
from hybridvit.plots.theme import DARK, LIGHT, THEMES, Theme, to_png, to_svg

__all__ = [
    "DARK",
    "LIGHT",
    "THEMES",
    "Line",
    "Theme",
    "by_layer",
    "class_colours",
    "conflict_course",
    "conflict_map",
    "curves",
    "delta_forest",
    "effect_bars",
    "encode_png",
    "enlarged",
    "equivalence_bars",
    "gate_curves",
    "heat",
    "learning_curves",
    "over_training",
    "to_png",
    "to_rgb",
    "to_svg",
    "with_mask",
]
