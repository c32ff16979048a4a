"""The command line: ``hybridvit COMMAND ...``; each command is a function in a module of its own kind."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Sequence
from importlib import import_module
from typing import NoReturn, TextIO

from hybridvit.cli.console import DONE, FAILED, INTERRUPTED, WRONG, say

USAGE = """\
hybridvit: vision transformers, hybrids and CNNs for few images and several tasks, and what their assumptions are worth

  hybridvit study RECIPE [--out FOLDER] [--FIELD VALUE ...]    a grid of runs -> report.html
  hybridvit train RECIPE [--out FOLDER] [--FIELD VALUE ...]    one run -> run folder
  hybridvit evaluate RUN [--split test|validation] [--checkpoint NAME] [--json]
  hybridvit predict RUN IMAGE|VIEW=IMAGE ... [--out FOLDER] [--checkpoint NAME] [--json]
  hybridvit diagnose RUN [IMAGE ...] [--images N] [--checkpoint NAME] [--json]   what its attention looks at
  hybridvit export RUN --out FOLDER [--checkpoint NAME]        the run without what only training needs
  hybridvit report RUN                                         a run with several heads: curves, conflicts, predictions

  hybridvit features RUN                                       what the trunk sees of every image, written once
  hybridvit tune RUN --task NAME [--kind KIND] [--FIELD VALUE ...]   train one head on that; a new name adds a head
  hybridvit heads RUN [--remove NAME] [--json]                 the heads of a run

  hybridvit data check MANIFEST [--json]                       what a table of images and labels holds, and its faults
  hybridvit models [PATTERN] [--image-size PX] [--json]        the named models: size, cost, sockets, paper
  hybridvit models --diff NAME NAME [--json]                   the fields in which two models differ
  hybridvit bench [--quick] [--json]                           speed and memory against peers

RECIPE is a Python file with a recipe() or study() function, such as recipes/digits.py, or the recipe.yaml or
study.yaml of an earlier run. Flags change its fields: hybridvit train RECIPE --help lists them.
The same command again goes on where it stopped. Exit status: 0 done, 1 the run failed, 2 the request was wrong.
"""

# Where each command lives; imported when it is called, so that --help costs nothing.
COMMANDS = {
    "train": "train",
    "study": "study",
    "evaluate": "loaded",
    "predict": "loaded",
    "diagnose": "loaded",
    "export": "loaded",
    "report": "loaded",
    "features": "heads",
    "tune": "heads",
    "heads": "heads",
    "data": "data",
    "models": "models",
    "bench": "models",
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command and returns the exit status."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    if not words or words[0] in ("-h", "--help", "help"):
        print(USAGE, end="")
        return DONE if words else WRONG
    if words[0] == "--version":
        from hybridvit import __version__

        print(f"hybridvit {__version__}")
        return DONE
    name = words[0]
    if name not in COMMANDS:
        from difflib import get_close_matches

        close = get_close_matches(name, COMMANDS, n=1)
        hint = f"did you mean {close[0]}?" if close else f"choose from {', '.join(COMMANDS)}"
        return say(f"unknown command {name!r}: {hint}", WRONG)
    shown = warnings.showwarning
    warnings.showwarning = _show_warning
    try:
        status: int = getattr(import_module(f"hybridvit.cli.{COMMANDS[name]}"), name)(words[1:])
        return status
    except ValueError as error:
        return say(str(error), WRONG)
    except RuntimeError as error:
        if type(error).__name__ not in ("NonFiniteLoss", "NoLearningRate", "TimeIsUp"):
            raise
        return say(str(error), FAILED)
    except KeyboardInterrupt:
        return say("interrupted; the same command goes on from what is done", INTERRUPTED)
    except BrokenPipeError:
        sys.stdout = None  # type: ignore[assignment]  # whoever read the output has enough
        return DONE
    finally:
        warnings.showwarning = shown


def _show_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    """A warning as one line."""
    say(f"warning: {message}", DONE)


def entry() -> NoReturn:
    """The installed command."""
    sys.exit(main())
