"""Who imports whom, what importing costs, and how files are named."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "hybridvit"
FILES = sorted(PACKAGE.rglob("*.py"))

EVERYTHING = ("",)

# For each part, the modules of ours that it may import besides its own and config, which everybody may import.
MAY_IMPORT = {
    "config": (),
    "layers": (),
    "backbones": ("layers",),
    "models": ("backbones", "tasks.classification"),
    "tasks": ("layers", "backbones.features"),
    "diagnostics": ("layers", "backbones.features"),
    "hydra": ("layers", "backbones.features", "tasks.base"),
    "data": (),
    "training": ("hydra", "tasks.base", "data.batch"),
    "recipe": EVERYTHING,  # but configuration classes only, see below
    "recipe_file": ("recipe", "studies"),
    "runs": ("recipe", "models", "backbones", "layers", "tasks", "hydra", "data", "training", "diagnostics"),
    "studies": ("recipe", "runs", "training", "plots", "backbones.model_kinds", "hydra.balance.kinds"),
    "plots": (),
    "cli": EVERYTHING,
    "bench": EVERYTHING,
    "estimator": EVERYTHING,
    "": EVERYTHING,  # hybridvit/__init__.py
}
NOT_IMPORTED = {  # part -> who may import it
    "cli": (),
    "bench": ("cli",),
    "estimator": ("",),  # hybridvit/__init__.py names it for users
    "recipe_file": ("cli",),
    "plots": ("studies", "cli"),
    "studies": ("cli", "bench", "recipe_file"),
}
PLOTTING = {"numpy", "matplotlib"}


def imports(source, module):
    """(line, dotted name) of everything a module imports, wherever in the file; ``from a import b`` is a.b."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parts = module.split(".")[: -node.level]
                base = ".".join([*parts, base] if base else parts)
            for alias in node.names:
                yield node.lineno, f"{base}.{alias.name}"


def within(name, allowed):
    return any(part == "" or name == part or name.startswith(part + ".") for part in allowed)


def violations(source, module):
    """What a module of the package, as in ``hybridvit.layers.gpsa``, imports against the rules."""
    part = module.split(".")[1] if "." in module else ""
    for line, name in imports(source, module):
        top, _, inner = name.partition(".")
        where = f"{module}:{line} imports {name}"
        if top != "hybridvit":
            if part == "plots" and top not in PLOTTING and top not in sys.stdlib_module_names:
                yield where
            continue
        target = inner.split(".")[0]
        if target == part and part:
            continue
        if target not in MAY_IMPORT:  # a name of the package itself, as in `from hybridvit import __version__`
            if target.startswith("__") or part == "":
                continue
            yield f"{where}, which no rule allows"
        elif not within(inner, ("config", *MAY_IMPORT[part])) or part not in NOT_IMPORTED.get(target, (part,)):
            yield where
        elif part == "recipe" and target != "config" and not name.endswith("Config"):
            yield f"{where}, which is no configuration"


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_nothing_is_imported_against_the_rules(path):
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    is_package = parts[-1] == "__init__"
    module = ".".join(parts[:-1] if is_package else parts)
    part = module.split(".")[1] if "." in module else ""
    assert part in MAY_IMPORT, f"{path} belongs to no part that has a rule"
    source = path.read_text(encoding="utf-8")
    found = list(violations(source, f"{module}.__init__" if is_package and part else module))
    assert not found, "\n".join(found)


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("layers.gpsa", "from hybridvit.backbones.features import Features"),
        ("layers.gpsa", "import hybridvit.tasks.base"),
        ("layers.gpsa", "from ..data import batch"),
        ("layers.gpsa", "from hybridvit import runs"),
        ("layers.gpsa", "def f():\n    from hybridvit.models import create_model"),
        ("config", "from hybridvit.layers import GPSA"),
        ("backbones.vit", "from hybridvit.tasks.base import Task"),
        ("tasks.base", "from hybridvit.backbones.vit import ViT"),
        ("tasks.base", "from hybridvit.backbones import FeatureSpec"),
        ("diagnostics.gates", "from hybridvit.models import create_model"),
        ("hydra.hydranet", "from hybridvit.backbones.vit import ViT"),
        ("hydra.hydranet", "from hybridvit.data.rig import Rig"),
        ("data.batch", "from hybridvit.layers import GPSA"),
        ("training.engine", "from hybridvit.data.load import load"),
        ("recipe", "from hybridvit.training.engine import Trainer"),
        ("recipe", "import hybridvit.training.engine"),
        ("runs.run", "from hybridvit.studies.learning_curve.cells import Cell"),
        ("runs.run", "from hybridvit.cli import entry"),
        ("runs.run", "from hybridvit.bench import run_bench"),
        ("runs.run", "from hybridvit import plots"),
        ("studies.cells", "from hybridvit.layers import GPSA"),
        ("studies.cells", "from hybridvit.bench import run_bench"),
        ("plots", "from hybridvit.recipe import Study"),
        ("plots", "import torch"),
        ("plots", "from scipy import stats"),
        ("bench", "from hybridvit.cli import entry"),
        ("", "from hybridvit.cli import entry"),
    ],
)
def test_the_rules_are_seen_to_be_broken(module, source):
    assert list(violations(source, f"hybridvit.{module}".rstrip(".")))


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("layers.gpsa", "import torch\nfrom hybridvit.layers.attention import attend\nfrom .attention import attend"),
        ("tasks.base", "from hybridvit.backbones.features import FeatureSpec\nfrom hybridvit.layers import pooling"),
        ("tasks.base", "from ..backbones.features import FeatureSpec"),
        ("training.engine", "from hybridvit.data.batch import Batch"),
        ("recipe", "from hybridvit.training.engine import TrainConfig"),
        ("studies.cells", "from hybridvit import plots\nfrom hybridvit.recipe import Study"),
        ("plots", "from __future__ import annotations\nimport io\nfrom matplotlib.axes import Axes\nimport numpy"),
        ("cli", "from hybridvit.bench import run_bench\nfrom hybridvit import __version__"),
    ],
)
def test_the_rules_allow_what_they_should(module, source):
    assert not list(violations(source, f"hybridvit.{module}"))


@pytest.mark.parametrize("folder", ["hybridvit", "tests", "recipes"])
def test_files_are_short_and_named_for_what_they_hold(folder):
    files = sorted((PACKAGE.parent / folder).rglob("*.py"))
    assert files
    for path in files:
        lines = path.read_text(encoding="utf-8").count("\n")
        assert lines <= 400, f"{path} has {lines} lines"
        assert path.stem.rstrip("s") not in ("util", "helper", "common", "misc"), path


def python(code):
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=PACKAGE.parent, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


def test_importing_the_package_costs_nothing():
    loaded = python("import sys, hybridvit; hybridvit.__version__; dir(hybridvit); print(*sys.modules)")
    assert "hybridvit" in loaded
    heavy = {"torch", "torchvision", "numpy", "scipy", "sklearn", "matplotlib", "accelerate", "yaml", "pydantic"}
    assert not heavy & set(loaded)


def test_public_names_are_there_at_first_use():
    code = """
import hybridvit as hv
assert hv.list_models("convit_t*") == ["convit_tiny", "convit_tiny_plus"]
for name in ("create_model", "create_backbone", "HydraNet", "ViTConfig"):
    assert callable(getattr(hv, name)) and name in dir(hv), name
assert hv.layers.GPSA and hv.diagnostics.gates
try:
    hv.create_modle
except AttributeError as error:
    print(error)
import sys
assert "accelerate" not in sys.modules and "torchmetrics" not in sys.modules and "sklearn" not in sys.modules
"""
    assert "create_modle" in " ".join(python(code))
