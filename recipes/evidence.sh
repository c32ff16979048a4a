#!/usr/bin/env bash
# Runs the project's GPU measurements within a time limit, the most important first.
#
#     bash recipes/evidence.sh MINUTES [FOLDER]
#
# Each measurement writes FOLDER/NAME.json or .txt when it is done, and is not repeated. Studies stop between two runs
# when time is up. The same command resumes. Exit status: 0 all is done, 1 something is left or failed, 2 the request
# was wrong.
set -u

minutes=${1:-}
out=${2:-runs/evidence}
if ! [[ $minutes =~ ^[0-9]+$ ]] || ((minutes == 0)); then
    echo "evidence: MINUTES must be a whole number above 0, given '$minutes': bash recipes/evidence.sh MINUTES [FOLDER]" >&2
    exit 2
fi
mkdir -p "$out" && out=$(cd "$out" && pwd) && cd "$(dirname "$0")/.." || exit 2
ends=$((SECONDS + 60 * minutes))
unfinished=0

# FILE: succeeds if that file is missing and there is time to make it; sets $left, in seconds.
due() {
    left=$((ends - SECONDS))
    [[ -e $out/$1 ]] && return 1
    ((left >= 60)) && return 0
    unfinished=1
    echo "evidence: $1: no time left"
    return 1
}

# FILE COMMAND...: keeps the output of the command as FILE if it succeeds.
once() {
    local name=$1
    shift
    due "$name" || return
    echo "evidence: $name: $*"
    if timeout "$left" "$@" >"$out/$name.part"; then
        mv "$out/$name.part" "$out/$name"
    else
        unfinished=1
        echo "evidence: $name did not end well; its output is in $out/$name.part"
    fi
}

# NAME SEEDS RECIPE FLAGS...: runs a study while there is time and keeps its result file; more seeds resume it.
study() {
    local name=$1 seeds=$2 recipe=$3
    shift 3
    due "$name-$seeds.json" || return
    echo "evidence: $name: hybridvit study $recipe --seeds $seeds $*"
    if hybridvit study "$recipe" --out "$out/$name" --launch.minutes $((left / 60)) --seeds "$seeds" "$@"; then
        cp "$out/$name/study.json" "$out/$name-$seeds.json"
    else
        unfinished=1
    fi
}

# NAME RECIPE FLAGS...: trains or resumes one model and measures its attention.
train() {
    local name=$1 recipe=$2
    shift 2
    due "$name.json" || return
    echo "evidence: $name: hybridvit train $recipe $*"
    if timeout "$left" hybridvit train "$recipe" --out "$out/$name" "$@" && hybridvit diagnose "$out/$name"; then
        cp "$out/$name/diagnosis.json" "$out/$name.json"
    else
        unfinished=1
    fi
}

few=(--train_sizes 500 2500 5000 --base.train.steps 1500 --learning_rates 1e-3 --launch.workers 4)
many=(--train_sizes 12500 25000 50000 --base.train.steps 3000 --learning_rates 1e-3 --launch.workers 4)

once tests.txt python -m pytest -q --gpu tests/test_devices.py
once bench.json hybridvit bench --json
study speedrun 3 recipes/cifar10_speedrun.py
study speedrun_short 3 recipes/cifar10_speedrun.py --base.train.steps 800
train inside recipes/cifar10_convit.py --train.steps 20000 --train.batch_size 256
study few_cifar10 3 recipes/small_data.py "${few[@]}"
study few_cifar100 3 recipes/small_data_cifar100.py "${few[@]}"
study speedrun_long 3 recipes/cifar10_speedrun.py --base.train.steps 20000
study multi_fashion_mnist 3 recipes/multi_fashion_mnist.py
study cifar100_coarse_fine 3 recipes/cifar100_coarse_fine.py
study few_cifar10 6 recipes/small_data.py "${few[@]}"
study few_cifar100 6 recipes/small_data_cifar100.py "${few[@]}"
study many_cifar10 3 recipes/small_data.py "${many[@]}"
study many_cifar100 3 recipes/small_data_cifar100.py "${many[@]}"
study cifar_full 3 recipes/cifar_full.py

exit "$unfinished"
