"""The command line: ``hybridvit COMMAND ...``; each command is a function."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Sequence
from importlib import import_module
from typing import NoReturn

from hybridvit.cli.arguments import COMMANDS, HELP, overview, parse
from hybridvit.cli.console import DONE, FAILED, INTERRUPTED, WRONG, say


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command and returns the exit status."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    if not words or words[0] in (*HELP, "help"):
        print(overview(), end="")
        return DONE if words else WRONG
    name = words[0]
    if name == "--version":
        from hybridvit import __version__

        print(f"hybridvit {__version__}")
        return DONE
    with warnings.catch_warnings():
        warnings.showwarning = _show_warning
        try:
            options = parse(words)
            command = getattr(import_module(f"hybridvit.cli.{COMMANDS[name].module}"), name.replace("-", "_"))
            return int(command(options))
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


def _show_warning(message: Warning | str, *_: object, **__: object) -> None:
    """Prints a warning as one line."""
    say(f"warning: {message}", DONE)


def entry() -> NoReturn:
    """The installed command."""
    sys.exit(main())
