"""Vision transformers, hybrids and CNNs for few images, several tasks, and the study of inductive bias."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from hybridvit import diagnostics as diagnostics
    from hybridvit import layers as layers
    from hybridvit.backbones import ConvConfig as ConvConfig
    from hybridvit.backbones import ConvPoolConfig as ConvPoolConfig
    from hybridvit.backbones import OverlapConfig as OverlapConfig
    from hybridvit.backbones import PatchConfig as PatchConfig
    from hybridvit.backbones import ResNetConfig as ResNetConfig
    from hybridvit.backbones import ShiftedPatchConfig as ShiftedPatchConfig
    from hybridvit.backbones import StagesConfig as StagesConfig
    from hybridvit.backbones import StdResNetConfig as StdResNetConfig
    from hybridvit.backbones import T2TConfig as T2TConfig
    from hybridvit.backbones import TimmConfig as TimmConfig
    from hybridvit.backbones import TorchvisionConfig as TorchvisionConfig
    from hybridvit.backbones import ViTConfig as ViTConfig
    from hybridvit.backbones import WideResNetConfig as WideResNetConfig
    from hybridvit.backbones.weights import load_weights as load_weights
    from hybridvit.estimator import HybridViTClassifier as HybridViTClassifier
    from hybridvit.hydra.hydranet import HydraNet as HydraNet
    from hybridvit.models import create_backbone as create_backbone
    from hybridvit.models import create_model as create_model
    from hybridvit.models import list_models as list_models

# Where each public name lives; imported at its first use, so that `import hybridvit` costs nothing.
_PUBLIC = {
    "ConvConfig": "hybridvit.backbones",
    "ConvPoolConfig": "hybridvit.backbones",
    "HybridViTClassifier": "hybridvit.estimator",
    "HydraNet": "hybridvit.hydra.hydranet",
    "OverlapConfig": "hybridvit.backbones",
    "PatchConfig": "hybridvit.backbones",
    "ResNetConfig": "hybridvit.backbones",
    "ShiftedPatchConfig": "hybridvit.backbones",
    "StagesConfig": "hybridvit.backbones",
    "StdResNetConfig": "hybridvit.backbones",
    "T2TConfig": "hybridvit.backbones",
    "TimmConfig": "hybridvit.backbones",
    "TorchvisionConfig": "hybridvit.backbones",
    "ViTConfig": "hybridvit.backbones",
    "WideResNetConfig": "hybridvit.backbones",
    "create_backbone": "hybridvit.models",
    "create_model": "hybridvit.models",
    "diagnostics": "",
    "layers": "",
    "list_models": "hybridvit.models",
    "load_weights": "hybridvit.backbones.weights",
}
__all__ = sorted([*_PUBLIC, "__version__"])


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"module 'hybridvit' has no attribute {name!r}")
    home = _PUBLIC[name]
    return getattr(import_module(home), name) if home else import_module(f"hybridvit.{name}")


def __dir__() -> list[str]:
    return __all__
