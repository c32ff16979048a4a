"""docs/architecture.md shows the parts of the package as their imports are."""

import importlib.util
from pathlib import Path

DOCS = Path(__file__).parent.parent / "docs"


def script():
    spec = importlib.util.spec_from_file_location("draw_architecture", DOCS / "draw_architecture.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_drawing_and_the_table_are_those_of_the_imports():
    made = script()
    advice = "run: python docs/draw_architecture.py"
    assert made.svg() == (DOCS / "architecture.svg").read_text(encoding="utf-8"), advice
    assert made.page() == (DOCS / "architecture.md").read_text(encoding="utf-8"), advice


def test_no_two_parts_import_each_other():
    made = script()
    edges = made.imports()
    assert {name for name in edges if name in made.reachable(edges, name)} == set()
    assert made.reachable({"a": {"b"}, "b": {"a"}}, "a") == {"a", "b"}


def test_an_arrow_that_others_imply_is_not_drawn():
    edges = {"top": {"middle", "ground"}, "middle": {"ground"}, "ground": set()}
    assert script().drawn_edges(edges) == {"top": ["middle"], "middle": ["ground"], "ground": []}


def test_every_part_says_what_it_holds():
    made = script()
    assert [name for name, files in made.parts().items() if not made.summary(files)] == []
