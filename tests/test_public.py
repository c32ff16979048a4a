"""What ``import hybridvit as hv`` gives: every name imports, every configuration is there, a typo is answered."""

import dataclasses
import importlib
import pkgutil
import tomllib
import typing
from pathlib import Path

import pytest

import hybridvit as hv
from hybridvit.config import Config, alternatives


def held(kind, classes):
    """Adds every configuration that a value of a type may hold."""
    for option in alternatives(kind):
        if dataclasses.is_dataclass(option):
            if option not in classes:
                classes.add(option)
                for inner in typing.get_type_hints(option, include_extras=True).values():
                    held(inner, classes)
        else:
            for inner in typing.get_args(option):
                held(inner, classes)
    return classes


def test_every_name_imports_and_is_what_it_is_called():
    for name in dir(hv):
        value = getattr(hv, name)
        assert getattr(value, "__name__", name).rpartition(".")[2] == name
    assert set(dir(hv)) == set(hv.__all__)


@pytest.mark.parametrize("root", ["Recipe", "Study", "MultiTaskStudy", "Ablation", "HeadFinetuneConfig"])
def test_every_configuration_that_a_recipe_can_hold_is_public(root):
    classes = held(getattr(hv, root), set())
    assert root == "HeadFinetuneConfig" or len(classes) > 40
    for cls in classes:
        assert getattr(hv, cls.__name__) is cls


def test_every_configuration_of_the_package_is_public():
    for module in pkgutil.walk_packages(hv.__path__, "hybridvit."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
    classes = list(Config.__subclasses__())
    for cls in classes:
        classes.extend(cls.__subclasses__())
    names = [cls.__name__ for cls in classes if cls.__module__.startswith("hybridvit.")]
    assert len(names) == len(set(names)) > 40
    for cls in classes:
        if cls.__module__.startswith("hybridvit.") and not cls.__name__.startswith("_"):
            assert getattr(hv, cls.__name__) is cls


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("Recpie", "has no attribute 'Recpie': did you mean Recipe?"),
        ("ViTConfg", "has no attribute 'ViTConfg': did you mean ViTConfig?"),
        ("PCGardConfig", "has no attribute 'PCGardConfig': did you mean PCGradConfig?"),
        ("create_modle", "has no attribute 'create_modle': did you mean create_model?"),
        ("__wrapped__", "has no attribute '__wrapped__'"),
    ],
)
def test_a_typo_is_answered_with_the_nearest_name(name, message):
    with pytest.raises(AttributeError) as caught:
        getattr(hv, name)
    assert str(caught.value) == f"module 'hybridvit' {message}"


def test_a_star_import_gives_the_public_names():
    namespace = {}
    exec("from hybridvit import *", namespace)
    assert {"Recipe", "create_model", "layers"} <= namespace.keys()


def test_the_list_of_names_is_part_of_an_installation():
    root = Path(hv.__file__).parent.parent
    files = tomllib.loads((root / "pyproject.toml").read_text())["tool"]["setuptools"]["package-data"]
    assert "*.pyi" in files["hybridvit"]
