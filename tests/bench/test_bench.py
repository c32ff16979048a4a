"""The bench: what its rows say, what its memory meter counts, and that all rows are there. No time is asserted."""

import json
import sys

import pytest
import torch

from hybridvit import bench
from hybridvit.bench import layers, measure, memory, models, start_up
from hybridvit.bench.measure import DEVICE
from hybridvit.bench.sizes import ModelCase, Seconds
from hybridvit.cli import main
from hybridvit.layers import GPSA, MHSA

TINY = bench.Sizes(
    dim=36,
    timm=((2, 2, 3), (3, 1, 7)),
    mhsa=((2, 2, 1.25), (3, 1, 1.25)),
    core_tokens=(4, 70),
    core_run=0,
    memory=(3, 2, 0.25),
    models=(ModelCase("convit_tiny", "convit_tiny", 32, 1, "peer/ours", 1.5, 1.9, 2, 0.5),),
    compiled_batch=1,
    deit=(("convit_tiny", 32, 0.9),),
    growth=("convit_tiny", 3, (1, 2), 1.25),
    heads=("vit_tiny_16", 16, 2),
    small=("vit_lite_7_4", 8, 2, 4),
    study=(2, 1, 1),
    seconds=Seconds(0, 0, 0, 0),
    pairs=2,
    processes=1,
)
MODEL_ROWS = [
    "difference of the logits, convit_tiny against timm, 32 px, fp32",
    "peak memory of a training step, convit_tiny against timm, 32 px, batch 1, fp32",
    *(
        [
            "training step, convit_tiny against timm, 32 px, batch 1, bf16, compiled",
            "inference, convit_tiny against our DeiT, 32 px, batch 1, bf16, compiled",
            "training step, convit_tiny against our DeiT, 32 px, batch 1, bf16, compiled",
        ]
        if models.COMPILED
        else [
            "training step, convit_tiny against timm, 32 px, batch 1, fp32",
            "training step, convit_tiny against timm, 32 px, batch 1, bf16",
        ]
    ),
    "peak memory per token, last 3 blocks of convit_tiny, grid 2x2 against 1x1, 4 tokens, fp32",
]
CPU = pytest.mark.skipif(DEVICE.type != "cpu", reason="counts allocations on the CPU")


@pytest.fixture
def no_processes(monkeypatch):
    """Canned answers instead of new Python processes: 0.2 s for hybridvit after 3 s for torch, 0.5 s for --help."""
    monkeypatch.setattr(start_up, "python", lambda *arguments: (0.5, "0.2 3.0\n"))


@pytest.fixture
def no_timm(monkeypatch):
    monkeypatch.setitem(sys.modules, "timm", None)


def test_ratio_is_the_median_of_the_ratios_of_the_pairs():
    row = measure.row("layer", "peer/ours", 3, [1.0, 2.0, 4.0], [4.0, 6.0, 8.0], "timm")
    assert (row["ours"], row["peer"], row["ratio"], row["pairs"]) == (2.0, 6.0, 3.0, 3)
    assert row["target"] == "peer/ours >= 3"
    assert row["reached"]


@pytest.mark.parametrize(
    ("of", "limit", "ours", "peer", "target", "reached"),
    [
        ("peer/ours", 3, 1.0, 2.9, "peer/ours >= 3", False),
        ("ours/peer", 1.25, 1.25, 1.0, "ours/peer <= 1.25", True),
        ("ours/peer", 1.25, 1.26, 1.0, "ours/peer <= 1.25", False),
        ("ours", 0.3, 0.2, 3.0, "ours <= 0.3 s", True),
        ("ours", 0.3, 0.4, 3.0, "ours <= 0.3 s", False),
    ],
)
def test_target(of, limit, ours, peer, target, reached):
    row = measure.row("row", of, limit, [ours], [peer])
    assert (row["target"], row["reached"]) == (target, reached)


def test_a_row_may_have_no_peer():
    row = measure.row("alone", "ours", 1, [0.5])
    assert (row["peer"], row["ratio"], row["reached"]) == (None, None, True)


def test_gpsa_pair_computes_the_same_with_every_part_of_the_layer_at_work():
    pytest.importorskip("timm")
    ours, theirs = layers.gpsa_pair(bench.Sizes(dim=36))
    x = torch.randn(2, 25, 36, device=DEVICE)
    torch.testing.assert_close(ours(x, (5, 5)), theirs(x), atol=1e-5, rtol=0)
    for name in ("position", "gate", "qkv.weight"):
        parameter = ours.get_parameter(name)
        before = parameter.detach().clone()
        with torch.no_grad():
            parameter += 0.1 * torch.randn_like(parameter)
        assert (ours(x, (5, 5)) - theirs(x)).abs().max() > 1e-4, f"{name} has no say"
        with torch.no_grad():
            parameter.copy_(before)


def test_equality_row_sees_a_layer_that_differs(monkeypatch):
    pytest.importorskip("timm")
    ours, theirs = layers.gpsa_pair(TINY)
    with torch.no_grad():
        theirs.proj.bias += 0.01
    monkeypatch.setattr(layers, "gpsa_pair", lambda sizes: (ours, theirs))
    row = next(layers.gpsa_against_timm(TINY))
    assert row["ours"] == pytest.approx(0.01, rel=0.01)
    assert not row["reached"]


def test_runs_are_interleaved_and_the_first_round_is_not_counted():
    order = []
    times = measure.interleaved([lambda: order.append("A"), lambda: order.append("B")], seconds=0, pairs=3)
    assert order == ["A", "B", "B", "A"] * 2
    assert [len(column) for column in times] == [3, 3]


@CPU
def test_memory_meter_counts_what_is_alive_at_once():
    x = torch.randn(2**18, requires_grad=True)  # 1 MiB

    def run():
        x.exp().sum().backward()  # exp's output, kept for the backward pass; then its product with the gradient
        x.grad = None

    assert memory.peak_memory(run) == 2 * 2**20 + 4 + 4  # the sum and its gradient


@CPU
def test_memory_meter_forgets_what_is_gone_and_ignores_views_and_what_was_there():
    x = torch.zeros(2**18)
    kept = []

    def run():
        for _ in range(5):
            y = x + 1
            y.view(2, -1).t()[0].add_(1)
            x.mul_(2)
            del y
        kept.append(x.view(-1))

    assert memory.peak_memory(run) == 2**20


@CPU
def test_memory_meter_agrees_with_the_allocator(tmp_path):
    """But for buffers inside the kernels, which are small beside the tensors at the sizes of the bench."""
    from torch.profiler import ProfilerActivity, profile

    for layer in (GPSA(144, 9), MHSA(144, 9)):
        x = torch.randn(2, 576, 144, requires_grad=True)
        (run,) = layers.layer_runs([layer], x, (24, 24), "fp32")
        run()
        with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as allocator:
            run()
        allocator.export_chrome_trace(str(tmp_path / "trace.json"))
        events = json.loads((tmp_path / "trace.json").read_text())["traceEvents"]
        now = peak = 0
        for event in sorted((e for e in events if e.get("name") == "[memory]"), key=lambda e: e["ts"]):
            now += event["args"]["Bytes"]
            peak = max(peak, now)
        assert peak > 0
        assert memory.peak_memory(run) == pytest.approx(peak, rel=0.05)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_run_leaves_no_gradients_behind(precision):
    layer = MHSA(36, 9).to(DEVICE)
    x = torch.randn(1, 4, 36, device=DEVICE, requires_grad=True)
    seen = []
    x.register_hook(lambda gradient: seen.append(gradient.abs().sum().item()))
    (run,) = layers.layer_runs([layer], x, (2, 2), precision)
    run()
    assert len(seen) == 1
    assert seen[0] > 0
    assert all(tensor.grad is None for tensor in (x, *layer.parameters()))


def test_bench_gives_every_row_and_can_be_written_as_json(no_processes):
    pytest.importorskip("timm")
    state, reported = torch.get_rng_state(), []
    with torch.no_grad():
        result = bench.run_bench(quick=True, on_row=reported.append, sizes=TINY)
    assert result["left_out"] == []
    assert reported == result["rows"]
    assert [row["what"] for row in result["rows"]] == [
        "GPSA, difference to timm, n = 9, batch 2, fp32",
        "GPSA, peak memory against timm, n = 9, batch 2, fp32",
        "GPSA against timm, n = 4, batch 2, fp32",
        "GPSA against timm, n = 4, batch 2, bf16",
        "GPSA against timm, n = 9, batch 1, fp32",
        "GPSA against timm, n = 9, batch 1, bf16",
        "GPSA against MHSA, n = 4, batch 2, fp32",
        "GPSA against MHSA, n = 4, batch 2, bf16",
        "GPSA against MHSA, n = 9, batch 1, fp32",
        "GPSA against MHSA, n = 9, batch 1, bf16",
        "attention core, choice against best, n = 4, batch 1, fp32",
        "attention core, choice against best, n = 4, batch 1, bf16",
        "attention core, choice against best, n = 70, batch 1, fp32",
        "attention core, choice against best, n = 70, batch 1, bf16",
        *MODEL_ROWS,
        "training step, one head, against a plain classifier, vit_tiny_16, 16 px, batch 2, fp32",
        "training step, four heads, vit_tiny_16, 16 px, batch 2, fp32",
        "training step, PCGrad of four tasks, vit_tiny_16, 16 px, batch 2, fp32",
        "training step of one head from cached features, vit_tiny_16, 16 px, batch 2, fp32",
        "difference of the outputs, a masked camera of NaN against none, fusion by attention",
        "difference of the outputs, a masked camera of NaN against none, fusion by bev",
        "augmentation of 4 images, 8 px, batch 2, against torchvision in worker processes",
        "training step with augmentation, vit_lite_7_4, 8 px, batch 2, fp32",
        "study: runs per minute, against the plain loop, 2 runs",
        "import hybridvit, after torch, torchvision",
        "hybridvit --help",
    ]
    assert list(dict.fromkeys(row["part"] for row in result["rows"])) == [
        "layers", "models", "heads", "data", "studies", "start-up",
    ]  # fmt: skip
    for row in (row for row in result["rows"] if "difference" in row["what"]):
        assert row["reached"], row["what"]
    assert result["rows"][-2]["ours"] == 0.2
    assert json.loads(json.dumps(result, allow_nan=False)) == result
    assert {"torch", "timm", "python"} <= result["versions"].keys()
    assert result["quick"]
    assert torch.equal(torch.get_rng_state(), state), "the caller's random numbers changed"


@pytest.mark.usefixtures("no_processes", "no_timm")
def test_without_timm_its_rows_are_left_out_with_the_reason():
    result = bench.run_bench(sizes=TINY)
    assert result["left_out"] == ["timm is not installed: pip install 'hybridvit[timm]'"]
    assert result["versions"]["timm"] == "not installed"
    assert not any("timm" in row["what"] for row in result["rows"])
    assert any("MHSA" in row["what"] for row in result["rows"])
    assert any("memory per token" in row["what"] for row in result["rows"])
    assert bench.format_table(result).endswith("left out: timm is not installed: pip install 'hybridvit[timm]'")


def test_a_process_that_fails_is_left_out_with_its_last_line():
    with pytest.raises(measure.LeftOut, match="ZeroDivisionError"):
        start_up.python("-c", "1 / 0")
    with pytest.raises(measure.LeftOut, match="nothing was printed"):
        start_up.python("-c", "pass")
    seconds, printed = start_up.python("-c", "import hybridvit; print(hybridvit.__file__)")
    assert seconds > 0
    assert printed.strip().endswith("__init__.py")


ROWS = [
    {"part": "layers", **measure.row("GPSA, difference", "ours", 1e-5, [3e-7], name="timm", unit="")},
    {"part": "layers", **measure.row("memory", "ours/peer", 0.25, [2**20], [8 * 2**20], "timm", "B")},
    {"part": "models", **measure.row("slow", "peer/ours", 3, [0.0125], [0.025], "timm", note="emulated")},
]
RESULT = {
    "device": "a CPU", "versions": {"hybridvit": "1", "torch": "2", "timm": "3"}, "seconds": 61.4, "rows": ROWS,
    "left_out": ["start-up: no"],
}  # fmt: skip


def test_table_is_aligned_and_numbers_its_notes():
    assert bench.format_table(RESULT).splitlines() == [
        "a CPU; hybridvit 1, torch 2, timm 3; measured in 61 s",
        "",
        "what                 ours     peer  ratio  pairs  target             reached",
        "",
        "layers:",
        "GPSA, difference  3.0e-07        -      -      1  ours <= 1e-05      yes",
        "memory            1.0 MiB  8.0 MiB   0.12      1  ours/peer <= 0.25  yes",
        "",
        "models:",
        "slow              12.5 ms  25.0 ms   2.00      1  peer/ours >= 3     no [1]",
        "",
        "[1] emulated",
        "left out: start-up: no",
    ]


def test_memory_is_told_in_the_unit_that_shows_it():
    row = measure.row("memory", "ours/peer", 2, [2**20 - 1024], [2**20], "timm", "B")
    assert bench.format_row(row) == "memory: 1023.0 KiB, timm 1.0 MiB, ratio 1.00 (ours/peer <= 2: yes)"


def test_a_table_without_notes_ends_with_its_last_row():
    table = bench.format_table({**RESULT, "rows": ROWS[:1], "left_out": []})
    assert table.endswith("GPSA, difference  3.0e-07     -      -      1  ours <= 1e-05  yes")


@pytest.mark.parametrize("terminal", [True, False])
def test_command_tells_each_row_on_a_terminal_while_it_measures(terminal, monkeypatch, capsys):
    def measured(quick, on_row):
        for row in ROWS if on_row else ():
            on_row(row)
        return {**RESULT, "quick": quick}

    monkeypatch.setattr(bench, "run_bench", measured)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: terminal)
    assert main(["bench", "--quick", "--json"]) == 0
    out, err = capsys.readouterr()
    assert json.loads(out) == {**RESULT, "quick": True}
    told = [
        "GPSA, difference: 3.0e-07 (ours <= 1e-05: yes)",
        "memory: 1.0 MiB, timm 8.0 MiB, ratio 0.12 (ours/peer <= 0.25: yes)",
        "slow: 12.5 ms, timm 25.0 ms, ratio 2.00 (peer/ours >= 3: no)",
    ]
    assert err.splitlines() == (told if terminal else [])
