"""Writes the tables of parameters into docs/interface.md, from what the nodes declare. Run it from the repository:

python docs/parameter_tables.py
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

PAGE = Path(__file__).with_name("interface.md")
LIVE = {"now": "yes", "configure": "configure", "start": "start"}


def table(declared: Any) -> str:
    """A Markdown table of ``node_parameters.DECLARED`` or the like."""
    lines = ["| parameter | default | range | live | |", "|---|---|---|---|---|"]
    for each in declared:
        default = "empty" if each.default in (None, "") else _value(each.default)
        lines.append(f"| `{each.name}` | {default} | {_bounds(each)} | {LIVE[each.when]} | {each.description} |")
    return "\n".join(lines)


def _value(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _bounds(each: Any) -> str:
    if each.choices:
        return ", ".join(choice or "empty" for choice in each.choices)
    return f"{each.limits[0]:g} .. {each.limits[1]:g}" if each.limits else ""


def between(text: str, name: str) -> tuple[int, int]:
    """Where the part of the page lies that belongs to ``name``."""
    start = text.index(f"<!-- {name} -->\n") + len(f"<!-- {name} -->\n")
    return start, text.index("<!-- end -->", start)


def grasp_table() -> str:
    """The same of ``grasp_parameters``; all of them live."""
    from dkt_ros.grasp_parameters import DESCRIBED, DIRECTIONS, default

    lines = ["| parameter | default | range | |", "|---|---|---|---|"]
    lines += [
        f"| `{name}` | {default(name)} | {low:g} .. {high:g} | {text} |"
        for name, (text, low, high) in DESCRIBED.items()
    ]
    lines += [f"| `{name}` | {list(default(name))} | three numbers | {text} |" for name, text in DIRECTIONS.items()]
    return "\n".join(lines)


def filled(text: str) -> str:
    """The page with its tables as they should be."""
    from dkt_ros.node_parameters import DECLARED

    for name, lines in (("dkt_perception", table(DECLARED)), ("antipodal_grasps", grasp_table())):
        start, end = between(text, f"parameters of {name}")
        text = f"{text[:start]}{lines}\n{text[end:]}"
    return text


if __name__ == "__main__":
    PAGE.write_text(filled(PAGE.read_text()))
