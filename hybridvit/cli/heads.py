"""hybridvit cache-features, finetune-head and heads: the heads of a trained run, on features of its frozen backbone."""

from __future__ import annotations

import json
import sys
from argparse import Namespace
from typing import Any

from hybridvit.cli.console import DONE, print_result
from hybridvit.cli.flags import apply_flags
from hybridvit.cli.progress import training_progress
from hybridvit.config import kinds, nearest
from hybridvit.recipe import HeadFinetuneConfig
from hybridvit.runs.cached_features import write_features
from hybridvit.runs.finetune_head import HeadFinetune
from hybridvit.runs.loaded_run import LoadedRun
from hybridvit.runs.stored_heads import remove_head, stored_heads
from hybridvit.tasks.classification import ClassificationConfig
from hybridvit.tasks.kinds import TaskConfig


def cache_features(options: Namespace) -> int:
    """hybridvit cache-features RUN [--checkpoint NAME]"""
    run = LoadedRun(options.run, options.checkpoint)
    caches = write_features(run, run.load(), run.net, _show_features)
    folder = next(iter(caches.values())).folder.parent
    size = sum(cache.bytes for cache in caches.values()) / 1e6
    counts = ", ".join(f"{len(cache):,} {split}" for split, cache in caches.items())
    print(f"{folder}: features of {counts} images, {size:,.1f} MB")
    return DONE


def finetune_head(options: Namespace) -> int:
    """hybridvit finetune-head RUN --task NAME [--kind KIND] [--checkpoint NAME] [--FIELD VALUE ...]"""
    run, task, kind = LoadedRun(options.run, options.checkpoint), options.task, options.kind
    if task is None:
        raise ValueError(f"--task is missing: name one of {', '.join(run.tasks)}, or a new head with its --kind")
    head = run.configs.get(task) or run.recipe.tasks.get(task)  # the recipe also has heads that were removed
    if head is None and kind is None:
        raise ValueError(f"the run has no head {task!r}: {nearest(task, run.tasks)} (a new one needs --kind)")
    known = [name for name, config in kinds(TaskConfig).items() if config.in_data]  # a teacher looks at images
    if kind not in (None, *known):
        raise ValueError(f"unknown kind {kind!r}: {nearest(kind, known)}")
    flags = options.flags if kind is None else ["--head.kind", kind, *options.flags]
    config = HeadFinetuneConfig(head=head or ClassificationConfig(target=task))
    config = apply_flags(config, flags, f"hybridvit finetune-head {options.run} --task {task}")
    finetune = HeadFinetune(run, task, config, options.command_line)
    with training_progress(config.train.steps) as on_step:
        result = finetune.fit(_show_features, on_step)
    print_result(result)
    seconds = result["seconds"]
    print(
        f"head {task} of {options.run} {'replaced' if finetune.was else 'added'}: {config.train.steps} steps in "
        f"{seconds['train']:.1f} s on features that took {seconds['features']:.1f} s; the other heads are unchanged"
    )
    return DONE


def heads(options: Namespace) -> int:
    """hybridvit heads RUN [--remove NAME] [--json]"""
    run = LoadedRun(options.run)
    if options.remove is not None:
        if options.remove not in run.tasks:
            raise ValueError(f"{options.run} has no head {options.remove!r}: {nearest(options.remove, run.tasks)}")
        remove_head(options.run, options.remove, list(run.tasks))
        run = LoadedRun(options.run)
    finetuned = {head.name for head in stored_heads(options.run)}
    rows: list[dict[str, Any]] = [
        {
            "name": name,
            "kind": config.kind,
            "target": config.target,
            "params": sum(parameter.numel() for parameter in run.net.heads[name].parameters()),
            "from": "finetuning" if name in finetuned else "training",
        }
        for name, config in run.configs.items()
    ]
    if options.json:
        print(json.dumps({"run": str(options.run), "heads": rows}))
        return DONE
    width = max(len(row["name"]) for row in rows)
    for row in rows:
        print(
            f"{row['name']:<{width}}  {row['kind']:<14}  column {row['target']:<12}  {row['params']:>9,} parameters  "
            f"{'fine-tuned alone' if row['from'] == 'finetuning' else 'trained with the backbone'}"
        )
    return DONE


def _show_features(split: str, done: int, total: int) -> None:
    if done == total or sys.stderr.isatty():
        end = "\n" if done == total else "\r"
        print(f"features of {split}: {done:,} of {total:,} images", end=end, file=sys.stderr, flush=True)
