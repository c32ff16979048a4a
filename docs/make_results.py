"""Writes docs/results.md from the result files in recipes/results, and from nothing else.

python docs/make_results.py
"""

import json
from pathlib import Path
from statistics import mean
from textwrap import fill

import numpy as np

from hybridvit.studies.learning_curve.equivalence import equivalence
from hybridvit.studies.statistics import mean_interval

DOCS = Path(__file__).parent
RESULTS = DOCS.parent / "recipes" / "results"
UNITLESS = ("r2", "cosine")  # metrics that are no shares
SEEDS = {1: "one seed", 2: "two paired seeds", 3: "three paired seeds", 7: "seven paired seeds"}

INTRODUCTION = """# Results

Every number on this page comes from a file in [`recipes/results`](../recipes/results). `python docs/make_results.py`
writes the page, and a test compares the two. Each section names its file and the command that repeats it. The digits
study ran on two threads of an AMD EPYC, all other runs on two cores of a Xeon at 2.5 GHz. Nothing here has run on a GPU
yet.

Brackets hold 95 % confidence intervals over paired seeds: Student's t for differences, an inverted t test for
equivalent images. [The protocol](protocol.md) says what a study may claim. The digits study has the seeds that its
claims need. The others have three at most, which are too few to claim significance, and used one learning rate for all
sizes. The brackets of Δm are the exception. Their files hold a bootstrap's intervals and no values by seed. With three
seeds such an interval holds the truth in 72 % of studies and not in 95 %. [Findings](findings.md) says what we learned
from these numbers.
"""


def result(name):
    """The content of a result file."""
    return json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8"))


def seeds(study):
    """How often each run was repeated, in words."""
    count = study["seeds"] if isinstance(study["seeds"], int) else len(study["seeds"])
    return SEEDS[count]


def signed(value):
    """One decimal and a sign; a value that rounds to zero is +0.0."""
    return f"{value:+.1f}".replace("-", "−").replace("−0.0", "+0.0")


def interval(ends):
    """Both ends of an interval in brackets."""
    return f"({' to '.join(map(signed, ends))})"


def percent(accuracies):
    """The mean of several shares, in percent."""
    return f"{100 * mean(accuracies):.1f}"


def table(header, rows):
    """A Markdown table."""
    lines = [header, ["---"] * len(header), *rows]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in lines)


def source(*names):
    """Where the numbers are from and how to repeat them."""
    files = ", ".join(f"[`{name}.json`](../recipes/results/{name}.json)" for name in names)
    return f"Source: {files}. Command: `{result(names[0])['command'].split(' --seed')[0]}`.\n"


def digits():
    """Four models on 90 to 1,437 digits."""
    study = result("digits_study")
    sizes, params, counts = study["train_images"], study["params"].values(), study["multiply_adds"].values()
    errors = {model: 1 - np.array(accuracy) for model, accuracy in study["accuracy"].items()}
    rows = []
    for model, accuracy in study["accuracy"].items():
        factor = equivalence(np.array(sizes, float), errors[study["reference"]], errors[model])
        end = str(factor) if model != study["reference"] else "1×"
        rows.append([model, *map(percent, accuracy), end])
    header = ["test accuracy, %", *(f"{size:,} images" for size in sizes), "equivalent images"]
    p = ", ".join(f"{model} p = {one['p']:.3f}" for model, one in study["equivalence"].items())
    return f"""## What an inductive bias is worth on the digits

Four models of {min(params):,} to {max(params):,} parameters and {min(counts) / 1e6:.2f} to {max(counts) / 1e6:.2f}
million multiply-adds learn scikit-learn's digits, with {seeds(study)}. ConViT differs from the ViT in one field,
its attention. The last column says how many times more images the ViT needs for the same test error. Every model has
its own learning rate at each size, chosen on validation images. All three are better than the ViT on average over the
sizes (exact sign-flip test, Holm-adjusted for three comparisons: {p}).

{table(header, rows)}
{source("digits_study")}
| learning curves | equivalent images |
|---|---|
| ![test error against training images](learning_curves.png) | ![images needed by the ViT](equivalence.png) |
"""


def laptop():
    """A hybrid and a ResNet on 5,000 images of CIFAR-10."""
    names = {model: f"cifar10_5k_laptop_{model}_0" for model in ("hybrid", "resnet")}
    rows = []
    for model, label in (("hybrid", "hybrid"), ("resnet", "ResNet")):
        run = result(names[model])
        shares = (percent([run[split]["label"]["accuracy"]]) for split in ("test", "test_tta"))
        rows.append([label, f"{run['params']:,}", *shares, f"{run['seconds']['train'] / 60:.1f} min"])
    steps = result(names["hybrid"])["steps"]
    return f"""## 5,000 images of CIFAR-10 on a laptop

{steps:,} steps of 32 images, {SEEDS[1]} each. Test-time augmentation (TTA) averages the predictions for an image
and its horizontal flip. The ResNet has about as many parameters, takes about as long for a step, and is ahead.
The hybrid ships with the project as `recipes/trained/cifar10_5k_laptop`.

{table(["model", "parameters", "test, %", "test with TTA, %", "training"], rows)}
{source(names["resnet"], names["hybrid"])}"""


def effects(study):
    """One row for each ingredient: what removing it changes."""
    rows = []
    for name, row in study["without"].items():
        points, *ends = mean_interval(np.array(row["effect"]["by_seed"]))
        effect = f"{signed(points)} {interval(ends)}"
        rows.append([name, effect, percent(row["accuracy"])])
    return table(["removed", "effect of the ingredient, points", "accuracy without it, %"], rows)


def ingredients():
    """The ablation of the laptop recipe."""
    study = result("what_matters")
    return f"""## What each ingredient of the laptop recipe adds

An ablation on {study["train_images"]:,} images of CIFAR-10. Each row removes one ingredient from the full
recipe. The base is an early form of the recipe at half its width. It trains for {study["steps"]} steps of
{study["batch_size"]} images and reaches {percent(study["base"]["accuracy"])} % with everything.
{seeds(study).capitalize()}.

{effects(study)}
{source("what_matters")}
![effect of each ingredient, with its interval](effect.png)

In so few steps regularisation only costs. CutMix and progressive resizing pay off in longer runs; the
[log](../LOG.md) has the numbers.
"""


def vit():
    """The ablation of four methods that help a ViT."""
    study = result("what_helps_vit")
    cnn, tuned = (
        percent([result(f"what_helps_vit_{name}_{seed}")["test"]["label"]["accuracy"] for seed in range(3)])
        for name in ("cnn", "cnn_muon")
    )
    return f"""## What helps a pure ViT

A ViT of {study["base"]["params"]:,} parameters learns from {study["train_images"]:,} images of CIFAR-10
in {study["steps"]} steps of {study["batch_size"]}. It reaches {percent(study["baseline"]["accuracy"])} %
with nothing added and {percent(study["base"]["accuracy"])} % with all four methods. Each row removes one of them.
{seeds(study).capitalize()}.

{effects(study)}
{source("what_helps_vit")}
The teacher is a CNN of {result("what_helps_vit_cnn_0")["params"]:,} parameters. It reaches {cnn} % on its own.
With the ViT's optimiser, whitening initialisation and weight averaging it reaches {tuned} %.

![effect of each method on a ViT, with its interval](effect_vit.png)
"""


def short_runs():
    """Seven models after 150 steps."""
    study = result("small_data_laptop")
    rows = [[model, *map(percent, accuracy)] for model, accuracy in study["accuracy"].items()]
    return f"""## How fast seven models start to learn

Seven models of about 0.3 M parameters train on CIFAR-10 for 150 steps of 64 images, with {seeds(study)}. In so
few steps the number of images hardly matters. The more convolution is built in, the faster a model learns.

{table(["test accuracy, %", *(f"{size:,} images" for size in study["train_images"])], rows)}
{source("small_data_laptop")}"""


MULTITASK = (
    ("multi_fashion_mnist_laptop", "Multi-Fashion+MNIST, 12,000 images"),
    ("cifar100_coarse_fine", "CIFAR-100, 10,000 images"),
    ("camvid", "CamVid, 367 frames"),
    ("digits_heads", "digits, 1,437 images; two thirds of the slants and boxes hidden"),
)


def metric_text(row, task, metric):
    """The mean of a task's metric, in percent where it is a share."""
    value = row["metrics"][task][metric]["mean"]
    return f"{value:.3f}".replace("-", "−") if metric in UNITLESS else f"{100 * value:.1f}"


def sharing():
    """Several tasks on one trunk against each alone."""
    rows = []
    for name, title in MULTITASK:
        study = result(name)
        rows.append([f"**{title}**", "", ""])
        alone = {row["trunk"]: row for row in study["rows"] if row["balance"] is None}
        first = {task: next(iter(metrics)) for task, metrics in study["higher_is_better"].items()}
        for row in (row for row in study["rows"] if row["balance"] is not None):
            tasks = [
                f"{task} {metric_text(alone[row['trunk']], task, metric)} → {metric_text(row, task, metric)}"
                for task, metric in first.items()
            ]
            delta = row["delta"]
            gain = f"{signed(delta['mean'])} % {interval(delta['interval'])}"
            rows.append([row["trunk"], ", ".join(tasks), gain])
    sources = "".join(f"- {source(name)}" for name, _ in MULTITASK)
    return f"""## What sharing a backbone costs

Short runs of 150 to 400 steps, {SEEDS[3]}. The table gives each task's first metric on the test images, alone and
together: accuracy, mIoU, mean AP, AP or the share of points found in %; R² or the mean cosine of the error otherwise.
Δm is the mean relative gain over all metrics of all tasks. Where an error is close to zero or R² is negative, that
one task rules Δm: slant and centre on the digits, road on CamVid.

{table(["backbone", "each task alone → together", "Δm"], rows)}
{sources}
`recipes/multi_fashion_mnist.py` is the published setting of Multi-Fashion+MNIST. It needs a GPU.

| predictions of seven heads on the digits | agreement of three tasks' gradients on CamVid |
|---|---|
| ![predictions of seven heads](heads.png) | ![cosines between the gradients, by stage](conflict.png) |
"""


def rig():
    """Six cameras fused into a bird's-eye view."""
    run = result("rig")
    test = run["test"]
    return f"""## Six cameras and a bird's-eye view

One run of {run["steps"]} steps on {run["train_images"]:,} synthetic scenes, {SEEDS[1]}. A tenth of the cameras is
missing. On {run["test_images"]} test scenes: occupancy mIoU {100 * test["occupancy"]["miou"]:.1f} %, R² of the count
{test["count"]["r2"]:.2f}, mean error of the heading {test["heading"]["mae"]:.1f} degrees, nearest object ahead
{100 * test["front"]["accuracy"]:.1f} %.

{source("rig")}
![six cameras, predicted and true occupancy, and the other heads' answers](rig.png)
"""


def gates():
    """One ConViT over a long run."""
    run, measures = result("cifar10_convit_0"), result("cifar10_convit_diagnosis")["measures"]
    first, *_, last = run["history"]["gates"]
    distance = measures["distance"]["values"]
    rows = [
        [str(index), f"{mean(gate):.2f}", f"{mean(last[index]):.2f}", f"{mean(distance[index]):.1f}"]
        for index, gate in enumerate(first)
    ]
    return f"""## ConViT's gates over training

One ConViT of {run["params"]:,} parameters on all of CIFAR-10: {run["steps"]:,} steps of 64 images,
{SEEDS[1]}, test accuracy {100 * run["test"]["label"]["accuracy"]:.1f} %. A gate of 1 means that a head attends by
position alone, a gate of 0 by content alone.

{table(["gated layer", "gate at first", "gate at last", "attention distance at last, pixels"], rows)}
{source("cifar10_convit_0", "cifar10_convit_diagnosis")}
| gates over training | how far each layer looks |
|---|---|
| ![gates by layer over training](gates.png) | ![attention distance by layer](distance.png) |
"""


def wrapped(block):
    """A paragraph filled to 120 columns; tables, headings, lists and pictures as they are."""
    return block if block.startswith(("|", "#", "-", "!")) else fill(block, 120, break_on_hyphens=False)


def page():
    """The whole page."""
    sections = (digits, laptop, ingredients, vit, short_runs, sharing, rig, gates)
    blocks = "\n\n".join([INTRODUCTION, *(section() for section in sections)]).split("\n\n")
    return "\n\n".join(wrapped(block.strip()) for block in blocks if block.strip()) + "\n"


if __name__ == "__main__":
    (DOCS / "results.md").write_text(page(), encoding="utf-8")
