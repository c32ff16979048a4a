"""The command line: ``hybridvit COMMAND ...``; each command is a function."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Sequence
from importlib import import_module
from typing import NoReturn, TextIO

from hybridvit.cli.console import DONE, FAILED, HELP, INTERRUPTED, WRONG, say

USAGE = """\
hybridvit: vision transformers, hybrids and CNNs for few images, several tasks, and studies of inductive bias

  hybridvit train RECIPE [--out FOLDER] [--FIELD VALUE ...]    trains one model and writes a run folder
  hybridvit study RECIPE [--out FOLDER] [--FIELD VALUE ...]    runs a grid of trainings and writes report.html
  hybridvit evaluate RUN [--split test|validation] [--checkpoint NAME] [--json]
  hybridvit predict RUN IMAGE|VIEW=IMAGE ... [--out FOLDER] [--checkpoint NAME] [--json]
  hybridvit diagnose RUN [IMAGE ...] [--images N] [--checkpoint NAME] [--json]   measures what attention looks at
  hybridvit export RUN --out FOLDER [--checkpoint NAME]        copies what prediction needs: weights and settings
  hybridvit report RUN                                         writes a page on a run with several heads

  hybridvit cache-features RUN [--checkpoint NAME]             stores the backbone's features of every image
  hybridvit finetune-head RUN --task NAME [--kind KIND] [--checkpoint NAME] [--FIELD VALUE ...]
                                                               trains one head on them; a new name adds a head
  hybridvit heads RUN [--remove NAME] [--json]                 lists the heads of a run

  hybridvit data check MANIFEST [--json]                       describes a table of images and labels, lists errors
  hybridvit models [PATTERN] [--image-size PX] [--json]        lists named models: size, cost, sockets, paper
  hybridvit models --diff NAME NAME [--json]                   lists the fields in which two models differ
  hybridvit bench [--quick] [--json]                           measures speed and memory against other libraries

RECIPE is a Python file with a recipe() or study() function, such as recipes/digits.py, or the recipe.yaml or
study.yaml of an earlier run. Flags change its fields; hybridvit train RECIPE --help lists them.
A command that was interrupted resumes when it is given again.
Exit status: 0 done, 1 the run failed, 2 the request was wrong, 130 interrupted.
"""

# The module of each command, imported when the command is given, so that --help costs nothing.
COMMANDS = {
    "train": "train",
    "study": "study",
    "evaluate": "loaded",
    "predict": "loaded",
    "diagnose": "diagnose",
    "export": "loaded",
    "report": "loaded",
    "cache-features": "heads",
    "finetune-head": "heads",
    "heads": "heads",
    "data": "data",
    "models": "models",
    "bench": "models",
}
RENAMED = {"features": "cache-features", "tune": "finetune-head"}


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command and returns the exit status."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    if not words or words[0] in (*HELP, "help"):
        print(USAGE, end="")
        return DONE if words else WRONG
    if words[0] == "--version":
        from hybridvit import __version__

        print(f"hybridvit {__version__}")
        return DONE
    name = words[0]
    if name not in COMMANDS:
        return say(f"unknown command {name!r}: {_hint(name)}", WRONG)
    original = warnings.showwarning
    warnings.showwarning = _show_warning
    try:
        command = getattr(import_module(f"hybridvit.cli.{COMMANDS[name]}"), name.replace("-", "_"))
        return int(command(words[1:]))
    except ValueError as error:
        return say(str(error), WRONG)
    except RuntimeError as error:
        if type(error).__name__ not in ("NonFiniteLoss", "NoLearningRate", "TimeIsUp"):
            raise
        return say(str(error), FAILED)
    except SystemExit as stop:  # the help of a command was printed
        return int(stop.code or DONE)
    except KeyboardInterrupt:
        return say("interrupted; the same command resumes from the last checkpoint", INTERRUPTED)
    except BrokenPipeError:
        sys.stdout = None  # type: ignore[assignment]  # whoever read the output has closed it
        return DONE
    finally:
        warnings.showwarning = original


def _hint(name: str) -> str:
    """The command that was meant."""
    if name in RENAMED:
        return f"it is now called {RENAMED[name]}"
    from difflib import get_close_matches

    close = get_close_matches(name, COMMANDS, n=1)
    return f"did you mean {close[0]}?" if close else f"choose from {', '.join(COMMANDS)}"


def _show_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    """Prints a warning as one line."""
    say(f"warning: {message}", DONE)


def entry() -> NoReturn:
    """The installed command."""
    sys.exit(main())
