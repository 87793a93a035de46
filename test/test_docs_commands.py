"""Every command line in the pages is one that `dkt` accepts, as far as that can be told without data and weights."""

from __future__ import annotations

import argparse
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

from dkt_ros.choices import ENGINE_NAMES
from dkt_ros.cli import parser
from dkt_ros.engines.catalogue import MODELS

REPOSITORY = Path(__file__).resolve().parents[1]
PAGES = (REPOSITORY / "README.md", *sorted((REPOSITORY / "docs").rglob("*.md")))
#: Placeholders and shells' own.
NO_COMMAND = re.compile(r"[$<]|\.\.\.")


def commands(page: Path) -> Iterator[str]:
    """Lines of the page's shell blocks that call `dkt`, without comments."""
    for block in re.findall(r"^```sh\n(.*?)^```", page.read_text(), re.DOTALL | re.MULTILINE):
        for line in block.replace("\\\n", " ").splitlines():
            if line.split(" ")[0] in ("dkt", ".venv/bin/dkt") and not NO_COMMAND.search(line.partition("  #")[0]):
                yield shlex.join(shlex.split(line, comments=True)[1:])


COMMANDS = sorted({(page.name, command) for page in PAGES for command in commands(page)})


def parsed(command: str) -> argparse.Namespace:
    return parser().parse_args(shlex.split(command))


@pytest.mark.parametrize(("page", "command"), COMMANDS, ids=lambda value: value[:60])
def test_it_is_accepted(page: str, command: str, capsys: pytest.CaptureFixture[str]) -> None:
    try:
        arguments = parsed(command)
    except SystemExit:
        pytest.fail(f"{page}: dkt {command}: {capsys.readouterr().err}")
    assert getattr(arguments, "engine", "nano") in ENGINE_NAMES
    if getattr(arguments, "action", None) == "fetch":
        assert arguments.name in {model.name for model in MODELS}


def published() -> list[argparse.Namespace]:
    return [parsed(command) for page, command in COMMANDS if page == "benchmarks.md" and command.startswith("eval ")]


def test_what_a_published_table_is_measured_with_is_fetched_there() -> None:
    """Weights of every command come from one of the page, for the same engine; and no two write to one folder."""
    fetched = {}
    for page, command in COMMANDS:
        if page == "benchmarks.md" and command.startswith("models fetch"):
            arguments = parsed(command)
            fetched[arguments.out] = next(model.engine for model in MODELS if model.name == arguments.name)
    runs = [run for run in published() if run.engine != "nano"]
    assert len(runs) > 10
    for run in runs:
        assert run.weights and fetched[run.weights[0]] == run.engine
        assert run.out
    assert len({run.out for run in runs}) == len(runs)


def test_subsets_and_cameras_exist() -> None:
    from dkt_ros.evaluation.datasets import LAYOUTS

    for page, command in COMMANDS:
        arguments = parsed(command)
        if arguments.command == "eval" and not command.split()[1].isupper():
            for kind, offered in (("subset", "subsets"), ("camera", "cameras")):
                asked = getattr(arguments, kind)
                assert not asked or any(asked in getattr(layout, offered) for layout in LAYOUTS), (page, command)
