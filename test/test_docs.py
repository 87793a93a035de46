"""The pages that people look things up in say what the code does: parameters, reasons, topics."""

from __future__ import annotations

import ast
import re
import runpy
from collections.abc import Iterator
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]
DOCS = REPOSITORY / "docs"
#: Calls whose first argument is a reason that is counted.
COUNTING = {"fault", "drop", "ignore", "forget", "_forget", "reset", "report", "_report", "_dropped", "_fault"}
COUNTING |= {"MessageError", "CloudError", "Break"}


def patterns(node: ast.expr) -> Iterator[str]:
    """A literal as it is; an f-string with … for what is filled in; both branches of a choice."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        yield node.value
    elif isinstance(node, ast.JoinedStr):
        yield "".join(str(part.value) if isinstance(part, ast.Constant) else "…" for part in node.values)
    elif isinstance(node, ast.IfExp):
        yield from (*patterns(node.body), *patterns(node.orelse))


def counted(file: Path) -> Iterator[str]:
    """Reasons that a file counts: arguments of ``COUNTING``, subscripts of ``drops``, pairs (reason, text) returned,
    and what is assigned to the name ``reason``."""
    grasps = file.stem.startswith("grasp")
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Call) and node.args:
            name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            if name in COUNTING:
                yield from patterns(node.args[0])
        elif isinstance(node, ast.Subscript) and ast.unparse(node.value) == "self.drops":
            yield from patterns(node.slice)
        elif isinstance(node, ast.Return) and isinstance(node.value, ast.Tuple) and file.stem == "pairing":
            yield from patterns(node.value.elts[0])
        elif grasps and isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "reason":
            yield from patterns(node.value)


def rows(page: str, *headings: str) -> set[str]:
    """What stands in backquotes in the first column of the tables below these headings."""
    text = (DOCS / page).read_text()
    found: set[str] = set()
    for heading in headings:
        part = text.split(f"\n## {heading}\n", 1)[1].split("\n## ", 1)[0]
        for line in part.splitlines():
            if line.startswith("| `"):
                found |= set(re.findall(r"`([^`]+)`", line.split(" | ")[0]))
    return found


def test_every_reason_that_is_counted_has_a_remedy():
    files = sorted((REPOSITORY / "dkt_ros").glob("*.py"))
    own = {reason for file in files if not file.stem.startswith("grasp") for reason in counted(file)}
    grasps = {reason for file in files if file.stem.startswith("grasp") for reason in counted(file)}
    assert rows("errors.md", "Counted reasons") == own
    assert rows("errors.md", "antipodal_grasps") == grasps


def test_the_tables_of_parameters_are_what_the_nodes_declare():
    pytest.importorskip("rclpy", reason="no ROS here")
    page = DOCS / "interface.md"
    filled = runpy.run_path(str(DOCS / "parameter_tables.py"))["filled"]
    assert page.read_text() == filled(page.read_text()), "run: python docs/parameter_tables.py"


def test_links_lead_somewhere():
    for page in (*DOCS.rglob("*.md"), REPOSITORY / "README.md"):
        for target in re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text()):
            if "://" not in target:
                assert (page.parent / target).exists(), f"{page.name}: {target}"
