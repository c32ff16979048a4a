"""The script that fits the evidence into so many minutes: its order, its time limit, and going on."""

import os
import re
import stat
import subprocess
from pathlib import Path

import pytest

from hybridvit.cli.flags import apply_flags
from hybridvit.recipe_file import read_recipe

ROOT = Path(__file__).parent.parent
SCRIPT = ROOT / "recipes" / "evidence.sh"
COMMANDS = """#!/bin/bash
echo "$(basename "$0") $*" >>"{log}"
case " $* " in {fails}) exit 1;; esac
while [ $# -gt 0 ]; do
    if [ "$1" = --out ]; then mkdir -p "$2"; echo '{{}}' >"$2/study.json"; fi
    if [ "$1" = diagnose ]; then echo '{{}}' >"$2/diagnosis.json"; fi
    shift
done
"""


@pytest.fixture
def run(tmp_path):
    """Calls the script with commands that only write down how they were called."""

    def call(*words, fails="nothing"):
        for name in ("python", "hybridvit"):
            path = tmp_path / "bin" / name
            path.parent.mkdir(exist_ok=True)
            path.write_text(COMMANDS.format(log=tmp_path / "log", fails=fails))
            path.chmod(path.stat().st_mode | stat.S_IEXEC)
        (tmp_path / "log").write_text("")
        environment = {**os.environ, "PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}"}
        done = subprocess.run(["bash", SCRIPT, *words], env=environment, capture_output=True, text=True, check=False)
        return done, (tmp_path / "log").read_text().splitlines()

    return call


def test_everything_is_run_once_and_kept(run, tmp_path):
    out = tmp_path / "out"
    done, calls = run("30", str(out))
    assert done.returncode == 0, done.stderr
    assert calls[0].startswith("python -m pytest")
    assert calls[1] == "hybridvit bench --json"
    studies = [call for call in calls if call.startswith("hybridvit study")]
    assert len(studies) == len(calls) - 4 == 12
    trained = next(index for index, call in enumerate(calls) if call.startswith("hybridvit train"))
    assert calls[trained + 1] == f"hybridvit diagnose {out}/inside"
    assert all(re.search(r"--launch\.minutes (29|30)\b", call) for call in studies)
    for name, seeds in (("few_cifar10", (3, 6)), ("cifar_full", (3,))):  # more seeds go on in the same folder
        asked = [call for call in studies if f"--out {out}/{name} " in call]
        assert [int(re.search(r"--seeds (\d+)", call)[1]) for call in asked] == list(seeds)
    kept = {path.name for path in out.iterdir() if path.is_file()}
    assert len(kept) == 15
    assert {
        "tests.txt",
        "bench.json",
        "speedrun-3.json",
        "inside.json",
        "few_cifar100-6.json",
        "cifar_full-3.json",
    } <= kept
    done, calls = run("30", str(out))
    assert (done.returncode, calls) == (0, [])


def test_what_fails_or_is_left_is_tried_again(run, tmp_path):
    out = tmp_path / "out"
    done, calls = run("30", str(out), fails="*bench*|*few_cifar10*")
    assert done.returncode == 1
    assert len(calls) == 16  # the others are not held up
    assert "bench.json did not end well" in done.stdout
    done, calls = run("30", str(out))
    assert done.returncode == 0
    assert [call.split(" --")[0] for call in calls] == [
        "hybridvit bench",
        *(f"hybridvit study recipes/{name}.py" for name in ("small_data", "small_data_cifar100") * 2),
    ]


@pytest.mark.parametrize("words", [(), ("0",), ("ten",), ("-3",)])
def test_a_wrong_number_of_minutes_is_one_line(run, words):
    done, calls = run(*words)
    assert (done.returncode, calls) == (2, [])
    assert done.stderr.count("\n") == 1
    assert "MINUTES must be a whole number above 0" in done.stderr


def test_its_studies_and_flags_are_real(run, tmp_path):
    _, calls = run("30", str(tmp_path / "out"))
    for call in calls:
        _, command, recipe, *flags = call.split()
        if command in ("study", "train"):
            del flags[flags.index("--out") : flags.index("--out") + 2]
            asked = apply_flags(read_recipe(ROOT / recipe, "recipe" if command == "train" else "study"), flags, "")
            if command == "train":
                assert asked.train.steps == 20_000
                continue
            assert asked.launch.minutes >= 29
            assert (asked.base.train.steps == 1500) == ("--train_sizes 500" in call)
