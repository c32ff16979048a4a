"""Draws docs/architecture.svg and writes the table in docs/architecture.md, both from the imports of the package.

python docs/draw_architecture.py
"""

import ast
from itertools import pairwise
from pathlib import Path

DOCS = Path(__file__).parent
PACKAGE = DOCS.parent / "hybridvit"
BEGIN, END = "<!-- parts -->\n", "<!-- end of parts -->"
EVERYWHERE = "config"  # every part may import it, so its arrows would only hide the others

# A recipe names the configurations of what comes before a training. They stand in runs; that is no use of runs.
NAMED_ONLY = ("recipe", "runs")

WIDTH, HEIGHT, LANE, GAP, RISE, MARGIN = 112, 36, 4, 30, 72, 16  # in pixels; LANE: what an arrow takes beside boxes
STYLE = """
  .box { fill: #ffffff; stroke: #57606a; } .name { fill: #1f2328; font: 14px system-ui, sans-serif; }
  .arrow { stroke: #8c959f; fill: none; } .head { fill: #8c959f; }
  @media (prefers-color-scheme: dark) {
    .box { fill: #161b22; stroke: #8b949e; } .name { fill: #e6edf3; }
    .arrow { stroke: #6e7681; } .head { fill: #6e7681; }
  }"""


def parts():
    """Part of the package, a module or folder directly in it -> its files."""
    found = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        name = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
        if name != "__init__":
            found.setdefault(name, []).append(path)
    return found


def imports():
    """Part -> the other parts that it imports, wherever in its files."""
    names = parts()
    edges = {name: set() for name in names}
    for name, files in names.items():
        for path in files:
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.Import):
                    modules = [alias.name for alias in node.names]
                elif isinstance(node, ast.ImportFrom) and node.module:
                    modules = [f"{node.module}.{alias.name}" for alias in node.names]
                else:
                    continue
                edges[name] |= {m.split(".")[1] for m in modules if m.startswith("hybridvit.")} & names.keys()
        edges[name] -= {name}
    edges[NAMED_ONLY[0]] -= {NAMED_ONLY[1]}
    return edges


def reachable(edges, start):
    """All parts that a part imports, directly or through others."""
    seen, stack = set(), list(edges[start])
    while stack:
        if (name := stack.pop()) not in seen:
            seen.add(name)
            stack += edges[name]
    return seen


def drawn_edges(edges):
    """The imports that no chain of other imports implies: enough to see who stands on whom."""
    kept = {}
    for name, targets in edges.items():
        targets = targets - {EVERYWHERE}
        implied = set().union(*(reachable(edges, target) for target in targets)) if targets else set()
        kept[name] = sorted(targets - implied)
    return kept


def levels(edges):
    """Part -> its height: 0 for one that imports no other, else one above the highest that it imports."""
    height = {}

    def level(name):
        if name not in height:
            height[name] = max((level(target) + 1 for target in edges[name] - {EVERYWHERE}), default=0)
        return height[name]

    for name in edges:
        level(name)
    return height


def laid_out(edges, kept):
    """Rows of boxes from the ground up, and for each arrow the boxes and lanes that it passes.

    An arrow over several levels has a lane of its own on each level between, so that it crosses no box.
    """
    height = levels(edges)
    rows = [
        [name for name in edges if height[name] == level and name != EVERYWHERE]
        for level in range(max(height.values()) + 1)
    ]
    ways = []
    for name, targets in kept.items():
        for target in targets:
            lanes = [(name, target, level) for level in range(height[name] - 1, height[target], -1)]
            for lane in lanes:
                rows[lane[2]].append(lane)
            ways.append([name, *lanes, target])
    near = {stop: [] for row in rows for stop in row}
    for way in ways:
        for one, other in pairwise(way):
            near[one].append(other)
            near[other].append(one)
    x = {stop: place for row in rows for stop, place in spread(row).items()}
    for _ in range(40):  # each goes to the middle of what it is joined to, row by row, up and down
        for row in [*rows, *reversed(rows)]:
            row.sort(key=lambda stop: sum(x[one] for one in near[stop]) / max(len(near[stop]), 1))
            x |= spread(row)
    return rows, ways, x


def spread(row):
    """Stop -> the middle of its box or lane, with the row centred on 0."""
    widths = [WIDTH if isinstance(stop, str) else LANE for stop in row]
    left, places = -(sum(widths) + GAP * (len(row) - 1)) / 2, {}
    for stop, width in zip(row, widths, strict=True):
        places[stop] = left + width / 2
        left += width + GAP
    return places


def svg():
    """The drawing: a box for each part, an arrow from each to the parts that it builds on."""
    edges = imports()
    rows, ways, x = laid_out(edges, drawn_edges(edges))
    half = max(abs(place) for place in x.values()) + WIDTH / 2 + MARGIN
    tall = 2 * MARGIN + HEIGHT + (len(rows) - 1) * RISE
    y = {stop: tall - MARGIN - HEIGHT / 2 - level * RISE for level, row in enumerate(rows) for stop in row}
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="{-half:g} 0 {2 * half:g} {tall:g}" width="{2 * half:g}" '
        'role="img" aria-label="Parts of hybridvit, each above the parts that it imports">',
        f"<style>{STYLE}\n</style>",
        '<defs><marker id="head" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
        '<path class="head" d="M0 0 L8 4 L0 8 z"/></marker></defs>',
    ]
    for way in ways:
        d = f"M{x[way[0]]:g} {y[way[0]] + HEIGHT / 2:g}"
        for one, other in pairwise(way):
            begin, end = y[one] + HEIGHT / 2, y[other] - HEIGHT / 2
            if not isinstance(one, str):
                d += f" L{x[one]:g} {begin:g}"
            d += f" C{x[one]:g} {(begin + end) / 2:g} {x[other]:g} {(begin + end) / 2:g} {x[other]:g} {end:g}"
        lines.append(f'<path class="arrow" marker-end="url(#head)" d="{d}"/>')
    for name in (stop for row in rows for stop in row if isinstance(stop, str)):
        left, upper = x[name] - WIDTH / 2, y[name] - HEIGHT / 2
        lines.append(f'<rect class="box" x="{left:g}" y="{upper:g}" width="{WIDTH}" height="{HEIGHT}" rx="6"/>')
        lines.append(f'<text class="name" x="{x[name]:g}" y="{y[name] + 5:g}" text-anchor="middle">{name}</text>')
    return "\n".join([*lines, "</svg>", ""])


def summary(files):
    """The first line of a part's docstring."""
    first = next((path for path in files if path.name == "__init__.py"), files[0])
    text = ast.get_docstring(ast.parse(first.read_text(encoding="utf-8"))) or ""
    return text.splitlines()[0] if text else ""


def table():
    """The parts from the top of the drawing to its ground, what each holds, and what it imports."""
    edges, names = imports(), parts()
    height = levels(edges)
    rows = ["| part | what it holds | imports |", "|---|---|---|"]
    for name in sorted(names, key=lambda name: (name == EVERYWHERE, -height[name], name)):
        rows.append(f"| `{name}` | {summary(names[name])} | {', '.join(sorted(edges[name] - {EVERYWHERE})) or '–'} |")
    return "\n".join(rows) + "\n"


def page():
    """docs/architecture.md with its table as the imports are now."""
    text = (DOCS / "architecture.md").read_text(encoding="utf-8")
    before, _, rest = text.partition(BEGIN)
    return before + BEGIN + table() + END + rest.partition(END)[2]


if __name__ == "__main__":
    (DOCS / "architecture.svg").write_text(svg(), encoding="utf-8")
    (DOCS / "architecture.md").write_text(page(), encoding="utf-8")
