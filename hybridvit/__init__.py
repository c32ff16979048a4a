"""Vision transformers, hybrids and CNNs for few images, several tasks, and the study of inductive bias."""

from __future__ import annotations

import os.path
from importlib import import_module

__version__ = "0.1.0"


def __getattr__(name: str) -> object:
    """A public name, imported at its first use; ``__init__.pyi`` lists them, for this and for type checkers."""
    if name == "__all__":
        return __dir__()
    if name.startswith("__"):
        raise AttributeError(f"module 'hybridvit' has no attribute {name!r}")
    modules = _modules()
    if name in modules:
        module = import_module(modules[name])
        value = module if modules[name] == f"hybridvit.{name}" else getattr(module, name)
    else:
        value = _configuration(name)
        if value is None:
            from difflib import get_close_matches

            close = get_close_matches(name, modules, n=1)
            hint = f": did you mean {close[0]}?" if close else ""
            raise AttributeError(f"module 'hybridvit' has no attribute {name!r}{hint}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*_modules(), "__version__"])


def _modules() -> dict[str, str]:
    """Public name -> the module that has it, or the module itself, from lines ``from MODULE import NAME as NAME``."""
    with open(os.path.join(os.path.dirname(__file__), "__init__.pyi"), encoding="utf-8") as file:
        lines = [line.split() for line in file if line.startswith("from ")]
    modules = {name: module for _, module, _, name, *_ in lines}
    return {name: f"hybridvit.{name}" if module == "hybridvit" else module for name, module in modules.items()}


def _configuration(name: str) -> object:
    """A configuration that recipes can hold and no list names, as one that was just added to its union."""
    if not name.endswith("Config"):
        return None
    from hybridvit.config import Config

    import_module("hybridvit.recipe")
    classes = Config.__subclasses__()
    for cls in classes:
        if cls.__name__ == name:
            return cls
        classes.extend(cls.__subclasses__())
    return None
