"""Every figure of a report, for light and dark pages; numpy and matplotlib only."""

from hybridvit.plots.conflict import conflict_course, conflict_map
from hybridvit.plots.curves import Line, curves, learning_curves, learning_rate_curves
from hybridvit.plots.intervals import delta_forest, effect_bars, equivalence_bars
from hybridvit.plots.pictures import class_colours, encode_png, enlarged, heat, to_rgb, with_mask
from hybridvit.plots.readings import by_layer, gate_curves, over_training
from hybridvit.plots.theme import DARK, LIGHT, THEMES, Theme, to_pdf, to_png, to_svg
