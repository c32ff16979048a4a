"""The kinds of studies, each once."""

from hybridvit.studies.ablation.study import Ablation
from hybridvit.studies.learning_curve.study import Study
from hybridvit.studies.multitask.study import MultiTaskStudy

STUDIES = (Study, MultiTaskStudy, Ablation)
