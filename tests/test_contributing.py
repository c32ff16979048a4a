"""CONTRIBUTING's table is true: one of each kind is added to a copy of the package, in just the files it names."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
TEXT = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")

# Kind -> the new file with its text, then what is changed in a file that lists the choices.
NEW = {
    "attention": (
        "layers/toy_attention.py",
        """
from hybridvit.layers.attention import MHSA


class ToyAttention(MHSA):
    def forward(self, x, grid=None):
        return 2 * super().forward(x, grid)
""",
        "layers/attention_kinds.py",
        {
            'Literal["mhsa"': 'Literal["toy", "mhsa"',
            '    "mhsa": MHSA': '    "toy": ToyAttention,\n    "mhsa": MHSA',
            "from hybridvit.layers.gpsa": "from hybridvit.layers.toy_attention import ToyAttention\n"
            "from hybridvit.layers.gpsa",
        },
    ),
    "tokenizer": (
        "layers/tokenizers/toy.py",
        """
from typing import Literal

from hybridvit.config import Config, PositiveInt
from hybridvit.layers.tokenizers.patch import PatchTokenizer


class ToyTokenizerConfig(Config):
    kind: Literal["toy"] = "toy"
    side: PositiveInt = 2

    def build(self, in_channels, dim, image_size):
        return PatchTokenizer(in_channels, dim, self.side)

    def describe(self):
        return f"toy {self.side}"
""",
        "backbones/tokenizer_kinds.py",
        {
            "    PatchConfig |": "    ToyTokenizerConfig | PatchConfig |",
            "from hybridvit.layers.tokenizers.t2t": "from hybridvit.layers.tokenizers.toy import ToyTokenizerConfig\n"
            "from hybridvit.layers.tokenizers.t2t",
        },
    ),
    "feed-forward": (
        "layers/toy_feedforward.py",
        """
from hybridvit.layers.feedforward import MLP


class ToyFeedForward(MLP):
    def forward(self, x, grid=None):
        return -super().forward(x, grid)
""",
        "layers/feedforward_kinds.py",
        {
            'Literal["mlp"': 'Literal["toy", "mlp"',
            '{"mlp": MLP': '{"toy": ToyFeedForward, "mlp": MLP',
            "from hybridvit.layers.feedforward": "from hybridvit.layers.toy_feedforward import ToyFeedForward\n"
            "from hybridvit.layers.feedforward",
        },
    ),
    "task on an existing column": (
        "tasks/toy.py",
        """
from typing import Literal

from hybridvit.tasks.classification import ClassificationConfig, ClassificationTask


class ToyTaskConfig(ClassificationConfig):
    kind: Literal["toy"] = "toy"

    def build(self, name, data):
        return ToyTask(name, data.names, self)


class ToyTask(ClassificationTask):
    def losses(self, prediction, target):
        losses, labelled = super().losses(prediction, target)
        return 3 * losses, labelled
""",
        "tasks/kinds.py",
        {
            "    ClassificationConfig\n": "    ToyTaskConfig\n    | ClassificationConfig\n",
            "from hybridvit.tasks.segmentation": "from hybridvit.tasks.toy import ToyTaskConfig\n"
            "from hybridvit.tasks.segmentation",
        },
    ),
    "data set": (
        "data/sets/toy.py",
        """
import numpy as np

from hybridvit.data.samples import Splits


def read_toy(root):
    images = np.random.default_rng(0).integers(256, size=(40, 6, 6, 1), dtype=np.uint8)
    return Splits.from_arrays(images, {"label": np.arange(40) % 4}, validation=0.0, test=0.2)
""",
        "data/sets/named.py",
        {
            '    "digits": ': '    "toy": read_toy,\n    "digits": ',
            "from hybridvit.data.sets.mnist": "from hybridvit.data.sets.toy import read_toy\n"
            "from hybridvit.data.sets.mnist",
        },
    ),
    "balancing method": (
        "hydra/balance/toy.py",
        """
from typing import Literal

import torch

from hybridvit.hydra.balance.base import MethodConfig, WeightedBalance


class ToyBalanceConfig(MethodConfig):
    kind: Literal["toy"] = "toy"

    def method(self, tasks, net):
        return ToyBalance(tasks)


class ToyBalance(WeightedBalance):
    def weigh(self, values, mask, losses, net):
        return torch.full_like(values, 0.5)
""",
        "hydra/balance/kinds.py",
        {
            "    SumConfig\n": "    ToyBalanceConfig\n    | SumConfig\n",
            "from hybridvit.hydra.balance.loss_weighting": "from hybridvit.hydra.balance.toy import ToyBalanceConfig\n"
            "from hybridvit.hydra.balance.loss_weighting",
        },
    ),
    "optimiser": (
        "training/optimisers/toy.py",
        """
from typing import Literal

from torch.optim import Adamax

from hybridvit.training.optimisers.base import OptimiserConfig


class ToyOptimiserConfig(OptimiserConfig):
    kind: Literal["toy"] = "toy"

    def build(self, model):
        return Adamax(self.groups(model), lr=self.lr)

    def method(self):
        return "Adamax"
""",
        "training/optimisers/kinds.py",
        {
            "Annotated[AdamWConfig": "Annotated[ToyOptimiserConfig | AdamWConfig",
            "from hybridvit.training.optimisers.muon": (
                "from hybridvit.training.optimisers.toy import ToyOptimiserConfig\n"
                "from hybridvit.training.optimisers.muon"
            ),
        },
    ),
    "diagnostic": (
        "diagnostics/toy_measure.py",
        """
import numpy as np

from hybridvit.diagnostics.measure import Measure, Reading


def toy_depth(model, images=None):
    return Reading(np.array([[float(len(model.blocks))]]), ("all",))


MEASURE = Measure(
    name="toy", title="Toy", unit="blocks", function=toy_depth, applies=lambda model: hasattr(model, "blocks"),
    models="models with blocks", caption="Number of blocks.", definition="Counted.", probe=True,
)
""",
        None,
        {},
    ),
}

SCRIPT = """
import json
import hybridvit as hv
from hybridvit.config import from_yaml, to_yaml

recipe = hv.Recipe(
    name="toy",
    model=hv.ViTConfig(
        embed_dim=8, depth=2, num_heads=2, attention="toy", feedforward="toy", pooling="mean",
        tokenizer=hv.ToyTokenizerConfig(side=3),
    ),
    data=hv.DataConfig(dataset="toy"),
    tasks={"a": hv.ToyTaskConfig(), "b": hv.ClassificationConfig()},
    balance=hv.ToyBalanceConfig(),
    optim=hv.ToyOptimiserConfig(lr=1e-2),
    train=hv.TrainConfig(steps=2, batch_size=8, precision="fp32"),
)
assert from_yaml(hv.Recipe, to_yaml(recipe)) == recipe
run = hv.Run(recipe)
result = run.fit()
block = run.net.backbone.blocks[0]
print(json.dumps({
    "parts": [type(part).__name__ for part in (block.attention, block.feedforward, run.tasks["a"])],
    "balance": result["balance"], "dataset": result["train_images"], "toy": result["history"]["toy"],
    "optimiser": recipe.optim.describe(), "socket": recipe.model.sockets()["tokenizer"],
    "measures": [measure.name for measure in hv.diagnostics.measures()],
}))
"""


def table():
    """Kind -> (number of package files, the new one, the changed one) as CONTRIBUTING says."""
    rows = re.findall(r"^\| ([\w -]+) \| (\d) \| `(\S+)` \| (?:`(\S+)`|–) \|$", TEXT, flags=re.MULTILINE)
    return {kind: (int(count), new, changed or None) for kind, count, new, changed in rows}


@pytest.mark.parametrize("kind", NEW)
def test_something_new_touches_only_the_files_that_the_table_names(kind):
    new, _, changed, _ = NEW[kind]
    count, new_in_table, changed_in_table = table()[kind]
    assert len({new, changed} - {None}) == count
    assert re.fullmatch(re.escape(new_in_table).replace("NAME", r"\w+"), new)
    assert changed == changed_in_table


def test_one_of_each_is_added_in_these_files_and_trains(tmp_path):
    assert table().keys() == NEW.keys()
    package = shutil.copytree(ROOT / "hybridvit", tmp_path / "hybridvit", ignore=shutil.ignore_patterns("__pycache__"))
    for new, text, changed, edits in NEW.values():
        (package / new).write_text(text, encoding="utf-8")
        if changed is not None:
            content = (package / changed).read_text(encoding="utf-8")
            for old, replacement in edits.items():
                assert content.count(old) == 1, (changed, old)
                content = content.replace(old, replacement)
            (package / changed).write_text(content, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT], cwd=tmp_path, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr
    seen = json.loads(done.stdout.splitlines()[-1])
    assert seen["parts"] == ["ToyAttention", "ToyFeedForward", "ToyTask"]
    assert (seen["balance"], seen["dataset"], seen["socket"]) == ("toy", 25, "toy 3")
    assert seen["optimiser"].startswith("Adamax")
    assert seen["toy"] == [[[2.0]]] * 2  # a probe: before the first step, and at the last
    assert "toy" in seen["measures"]
