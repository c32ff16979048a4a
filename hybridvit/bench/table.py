"""The rows of the bench as text."""

from __future__ import annotations

from itertools import groupby
from typing import Any

from hybridvit.bench.measure import Row


def format_table(result: dict[str, Any]) -> str:
    """The result of :func:`run_bench` as aligned text: a line on the machine, each part under its name, the notes."""
    notes = list(dict.fromkeys(row["note"] for row in result["rows"] if row["note"]))
    lines = [("what", "ours", "peer", "ratio", "pairs", "target", "reached")]
    for row in result["rows"]:
        reached = ("yes" if row["reached"] else "no") + (f" [{1 + notes.index(row['note'])}]" if row["note"] else "")
        lines.append((row["what"], *figures(row), str(row["pairs"]), row["target"], reached))
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    form = "  ".join(f"{{:{'>' if 1 <= i <= 4 else '<'}{width}}}" for i, width in enumerate(widths))
    title, *texts = (form.format(*line).rstrip() for line in lines)
    packages = ", ".join(f"{name} {result['versions'][name]}" for name in ("hybridvit", "torch", "timm"))
    text = [f"{result['device']}; {packages}; measured in {result['seconds']:.0f} s", "", title]
    for part, rows in groupby(zip(result["rows"], texts, strict=True), key=lambda pair: pair[0]["part"]):
        text += ["", f"{part}:", *(line for _, line in rows)]
    foot = [f"[{number}] {note}" for number, note in enumerate(notes, 1)]
    foot += [f"left out: {why}" for why in result["left_out"]]
    return "\n".join(text + ([""] if foot else []) + foot)


def format_row(row: Row) -> str:
    """One row in one line, as it is told while the bench goes on."""
    ours, peer, ratio = figures(row)
    against = "" if row["peer"] is None else f", {row['peer_name']} {peer}, ratio {ratio}"
    return f"{row['what']}: {ours}{against} ({row['target']}: {'yes' if row['reached'] else 'no'})"


def figures(row: Row) -> tuple[str, str, str]:
    """Ours, the peer's and their ratio, short."""
    ours, peer = ("-" if row[key] is None else quantity(row[key], row["unit"]) for key in ("ours", "peer"))
    return ours, peer, "-" if row["ratio"] is None else f"{row['ratio']:.2f}"


def quantity(value: float, unit: str) -> str:
    """A number with its unit, short."""
    size = f"{value / 2**20:.1f} MiB" if value >= 2**20 else f"{value / 2**10:.1f} KiB"
    return {"s": f"{1000 * value:.1f} ms", "B": size, "": f"{value:.1e}"}[unit]
