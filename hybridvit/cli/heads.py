"""hybridvit features, tune and heads: work on the heads of a trained run, its trunk untouched."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from hybridvit.cli.console import DONE, Parser, command_line, parse_first, scores_text
from hybridvit.cli.progress import training_bar


def features(words: list[str]) -> int:
    """hybridvit features RUN"""
    parser = Parser(prog="hybridvit features")
    parser.add_argument("run", type=Path)
    parser.add_argument("--checkpoint")
    known = parser.parse_args(words)

    from hybridvit.runs.cache_features import write_features
    from hybridvit.runs.loaded_run import LoadedRun

    trained = LoadedRun(known.run, known.checkpoint)
    caches = write_features(trained, trained.load(), trained.net, _told)
    folder = next(iter(caches.values())).folder.parent
    size = sum(cache.bytes for cache in caches.values()) / 1e6
    counts = ", ".join(f"{len(cache):,} {part}" for part, cache in caches.items())
    print(f"{folder}: features of {counts} images, {size:,.1f} MB")
    return DONE


def tune(words: list[str]) -> int:
    """hybridvit tune RUN --task NAME [--kind KIND] [--FIELD VALUE ...]"""
    parser = Parser(prog="hybridvit tune", add_help=False)
    parser.add_argument("run", type=Path)
    parser.add_argument("--task")
    parser.add_argument("--kind")
    parser.add_argument("--checkpoint")
    known, flags = parse_first(parser, words, "run")

    from hybridvit.cli.request import apply_flags, head_config
    from hybridvit.recipe import HeadFinetuneConfig
    from hybridvit.runs.finetune_head import HeadFinetune
    from hybridvit.runs.loaded_run import LoadedRun

    trained = LoadedRun(known.run, known.checkpoint)
    if known.task is None:
        raise ValueError(f"which head? --task with one of {', '.join(trained.tasks)}, or a new name with --kind")
    held = trained.configs.get(known.task) or trained.recipe.tasks.get(known.task)  # also one that was taken off
    config = HeadFinetuneConfig(head=head_config(known.task, known.kind, held, list(trained.tasks)))
    config = apply_flags(config, flags, f"hybridvit tune {known.run} --task {known.task}")
    tuning = HeadFinetune(trained, known.task, config, command_line("tune", words))
    with training_bar(config.train.steps, config.train.log_every) as on_step:
        result = tuning.fit(_told, on_step)
    chosen = f", chosen at step {result['selected_step']}" if result["validation"] is not None else ""
    if result["validation"] is not None:
        print(f"validation ({result['validation_images']} images{chosen}): {scores_text(result['validation'])}")
    if result["test"] is not None:
        print(f"test ({result['test_images']} images): {scores_text(result['test'])}")
    seconds = result["seconds"]
    print(
        f"head {known.task} of {known.run} {'replaced' if tuning.was else 'added'}: {config.train.steps} steps in "
        f"{seconds['train']:.1f} s on features that took {seconds['features']:.1f} s; the other heads are as they were"
    )
    return DONE


def heads(words: list[str]) -> int:
    """hybridvit heads RUN [--remove NAME] [--json]"""
    parser = Parser(prog="hybridvit heads")
    parser.add_argument("run", type=Path)
    parser.add_argument("--remove", metavar="NAME")
    parser.add_argument("--json", action="store_true")
    known = parser.parse_args(words)

    from hybridvit.config import nearest
    from hybridvit.runs.loaded_run import LoadedRun
    from hybridvit.runs.stored_heads import remove_head, stored_heads

    trained = LoadedRun(known.run)
    if known.remove is not None:
        if known.remove not in trained.tasks:
            raise ValueError(f"{known.run} has no head {known.remove!r}: {nearest(known.remove, trained.tasks)}")
        remove_head(known.run, known.remove, list(trained.tasks))
        trained = LoadedRun(known.run)
    tuned = {head.name for head in stored_heads(known.run)}
    rows: list[dict[str, Any]] = [
        {
            "name": name,
            "kind": config.kind,
            "target": config.target,
            "params": sum(parameter.numel() for parameter in trained.net.heads[name].parameters()),
            "from": "tuned" if name in tuned else "training",
        }
        for name, config in trained.configs.items()
    ]
    if known.json:
        print(json.dumps({"run": str(known.run), "heads": rows}))
        return DONE
    width = max(len(row["name"]) for row in rows)
    for row in rows:
        print(
            f"{row['name']:<{width}}  {row['kind']:<14}  column {row['target']:<12}  {row['params']:>9,} parameters  "
            f"{'tuned alone' if row['from'] == 'tuned' else 'trained with the trunk'}"
        )
    return DONE


def _told(part: str, done: int, total: int) -> None:
    if done == total or sys.stderr.isatty():
        end = "\n" if done == total else "\r"
        print(f"features of {part}: {done:,} of {total:,} images", end=end, file=sys.stderr, flush=True)
