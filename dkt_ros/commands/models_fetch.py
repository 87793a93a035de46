"""``dkt models fetch``: what it is, how large and under which licence; then the download."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from dkt_ros.commands import CommandError
from dkt_ros.commands.models_verify import print_item, size_words

if TYPE_CHECKING:
    from dkt_ros.engines.catalogue import Model
    from dkt_ros.engines.fetching import Plan


def fetch(arguments: argparse.Namespace) -> int:
    """Say what it is and ask, download, say what came and what is left to do."""
    from dkt_ros.engines.catalogue import model_named
    from dkt_ros.engines.fetching import FetchError, download, make_plan

    try:
        model = model_named(arguments.name)
    except ValueError as error:
        raise CommandError(str(error)) from error
    if not model.sources:
        print(f"{model.name} is bundled, there is nothing to fetch: {model.run}")
        return 0
    out: Path = arguments.out
    try:
        plan = make_plan(model, out, _revisions(model, arguments.revision))
        _print_plan(model, plan)
        if plan.missing and not arguments.yes:
            _ask(plan)
        download(plan)
    except FetchError as error:
        raise CommandError(str(error)) from error
    except OSError as error:
        raise CommandError(f"cannot write into {out}: {error}; free space there, or give another --out") from error
    except KeyboardInterrupt:
        print(
            f"\ndkt models: stopped; finished files are whole, and the same command goes on from here ({out})",
            file=sys.stderr,
        )
        return 130
    return _print_fetched(model, out)


def _revisions(model: Model, given: list[str]) -> dict[str, str]:
    repositories = list(dict.fromkeys(source.repository for source in model.sources))
    chosen = {}
    for each in given:
        repository, _, revision = each.rpartition("=")
        repository = repository or (repositories[0] if len(repositories) == 1 else "")
        if repository not in repositories or not revision:
            raise CommandError(
                f"--revision {each}: {model.name} is from {', '.join(repositories)}; write --revision REPOSITORY=COMMIT"
            )
        chosen[repository] = revision
    return chosen


def _print_plan(model: Model, plan: Plan) -> None:
    print(f"{model.name}: {model.words}")
    for source in model.sources:
        commit = plan.commits[source.repository]
        pinned = "pinned" if source.repository in plan.pinned else "the newest now; --revision pins it"
        stated = plan.said.get(source.repository)
        print(f"  {source.repository} at {commit} ({pinned})")
        print(f"    licence: {source.licence}; its page says: {stated or 'nothing'}")
        for file in plan.files:
            if file.repository == source.repository:
                print(f"    {file.path}  {size_words(file.size)}")
    print(f"  {size_words(plan.size)} in all, {size_words(plan.missing)} to download into {plan.folder}")


def _ask(plan: Plan) -> None:
    if not sys.stdin.isatty():
        raise CommandError("not confirmed, and this is no terminal to ask on: add --yes to accept licence and size")
    if input(f"Download {size_words(plan.missing)} under these licences? [y/N] ").strip().lower() not in ("y", "yes"):
        raise CommandError("nothing downloaded")


def _print_fetched(model: Model, out: Path) -> int:
    """What came, as ``verify`` sees it, and what is left to do."""
    from dkt_ros.engines.catalogue import next_steps
    from dkt_ros.engines.inspection import items, names_in

    found = items(out)
    for item in found:
        print_item(item, out)
    problems = [item.problem for item in found if item.problem]
    if problems:
        raise CommandError("\n".join(problems))
    for step in next_steps(model, names_in(out), out):
        print(f"still to do: {step}")
    if model.run:
        print(f"then: {model.run.format(out)}")
    return 0
