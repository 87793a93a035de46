"""The published models: which there are, which a folder holds, how to get them, and the embedding of a prompt.

Examples:
  dkt models list                                              what there is: size, licence, source, how it is run
  dkt models fetch dvd-1.1 --out models/dvd                    download one; size and licence are shown first
  dkt models verify models/dvd                                 which model is this, and does an engine run on it?
  dkt models embed-prompt --text depth --encoder models/text --out models/dkt/prompt.safetensors

Nothing is downloaded unless 'fetch' is called and confirmed. Pickles (.pth, .bin) are never read.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from dkt_ros.commands import CommandError

if TYPE_CHECKING:
    from dkt_ros.engines.catalogue import Model

#: The words that DKT was trained with.
PROMPTS = ("depth", "normal")

LIST = """What there is: what it is for, size of the download, licence, source, and how it is run.

Examples:
  dkt models list                 all
  dkt models list models          and which of them lie in this folder, or in folders directly below it
"""
VERIFY = """Say in words which model a file or a folder holds, what is missing for which engine, and how to get it.

Examples:
  dkt models verify models/dkt                      reads headers only: quick, whatever the size
  dkt models verify model.safetensors --sha256      reads everything, and compares with the sum of a published file

Ends with status 0 if an engine runs on it (or it is one good part), 1 if not: then the reason and the remedy are on
stderr. Refused: pickles (with the command that converts one), cut-off files, V1.1 bases, parts of different sizes,
several candidates for one part.
"""
FETCH = """Download one of the models of 'dkt models list' from the Hugging Face hub.

Examples:
  dkt models fetch dvd-1.1 --out models/dvd
  dkt models fetch dkt-depth-1.3b --out models/dkt --yes
  dkt models fetch dkt-depth-14b --out models/dkt --revision Daniellesry/DKT-Depth-14B=COMMIT

Shows files, sizes and licence first and asks. An interrupted download goes on when the same command is given again.
Every file is checked against the hub's checksum and takes its name only then. DIR/fetched.json notes commits and sums;
HF_ENDPOINT sets another hub.
"""
EMBED = """Make the embedding of a prompt, once, so that the text encoder is not needed to run DKT.

Examples:
  dkt models fetch text-encoder --out models/text
  dkt models embed-prompt --text depth --encoder models/text --out models/dkt/prompt.safetensors
  dkt models embed-prompt --text normal --encoder models/text --out models/dkt/normal/prompt.safetensors

Runs on the CPU and needs as much memory as the encoder has bytes (about 11 GB in bfloat16). The folder of the encoder
is the one that 'fetch' makes, or holds the reference's encoder converted to safetensors, and its tokenizer in
google/umt5-xxl/. Needs transformers: pip install 'dkt_ros[models]'
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of ``dkt models`` and of what can be done with them."""
    parser.set_defaults(help=parser.print_help)
    actions = parser.add_subparsers(dest="action", metavar="ACTION")

    def add(name: str, text: str) -> argparse.ArgumentParser:
        first = text.partition("\n")[0].rstrip(".")
        return actions.add_parser(
            name, help=first, description=text, formatter_class=argparse.RawDescriptionHelpFormatter
        )

    action = add("list", LIST)
    action.add_argument("folder", type=Path, nargs="?", metavar="DIR", help="folder to look for them in")
    action = add("verify", VERIFY)
    action.add_argument("path", type=Path, metavar="PATH", help="file or folder of weights")
    action.add_argument("--sha256", action="store_true", help="read whole files and compare their sums")
    action = add("fetch", FETCH)
    action.add_argument("name", metavar="NAME", help="as in 'dkt models list'")
    action.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder for the files")
    action.add_argument("--yes", action="store_true", help="do not ask")
    action.add_argument(
        "--revision",
        action="append",
        default=[],
        metavar="[REPOSITORY=]COMMIT",
        help="commit or branch to take; the repository may be left out if there is only one",
    )
    action = add("embed-prompt", EMBED)
    action.add_argument("--text", required=True, help="the prompt: depth or normal")
    action.add_argument("--encoder", type=Path, required=True, metavar="DIR", help="text encoder and tokenizer")
    action.add_argument("--out", type=Path, required=True, metavar="FILE", help="the embedding, a .safetensors")
    action.add_argument(
        "--precision", choices=("bfloat16", "float32"), default="bfloat16", help="of the encoder (%(default)s)"
    )


def main(arguments: argparse.Namespace) -> int:
    """Do what was asked; without an action, print the help."""
    if arguments.action is None:
        arguments.help()
        return 0
    from dkt_ros.commands.models_fetch import fetch
    from dkt_ros.commands.models_verify import verify

    done: int = {"list": _list, "verify": verify, "fetch": fetch, "embed-prompt": _embed}[arguments.action](arguments)
    return done


def _list(arguments: argparse.Namespace) -> int:
    from dkt_ros.engines.catalogue import MODELS

    places = _places(arguments.folder) if arguments.folder else []
    width = max(len(model.name) for model in MODELS)
    for model in MODELS:
        engine = f"engine {model.engine}" if model.engine else "part"
        print(f"{model.name.ljust(width)}  {engine.ljust(15)}  {model.size}")
        print(f"    {model.words}")
        print(f"    licence: {'; '.join(model.licences)}")
        for source in model.sources:
            print(f"    from {source.repository}, {_commit_words(source.revision)}")
        if model.run:
            print(f"    {model.run.format('DIR')}")
        if arguments.folder and model.holds:
            print(f"    {_whereabouts(model, places)}")
    for words in _others(places):
        print(words)
    print(
        "\nSizes are from papers and code, licences marked 'believed' were not checked: 'dkt models fetch' shows what "
        "the hub says before it downloads. The newest commit is noted in DIR/fetched.json; --revision sets another."
    )
    return 0


def _commit_words(revision: str) -> str:
    return f"commit {revision[:12]}" if revision else "newest commit (none is known here)"


@dataclass(frozen=True)
class _Place:
    """A folder, names of the layouts in it, and by engine why that does not run on it (empty: it runs)."""

    path: Path
    names: list[str]
    problems: dict[str, str]


def _places(folder: Path) -> list[_Place]:
    """What is in ``folder`` and in each folder directly below it; those with nothing are left out."""
    from dkt_ros.engines.headers import CheckpointError
    from dkt_ros.engines.inspection import items, names_in, verdicts

    if not folder.is_dir():
        raise CommandError(f"{folder}: no such folder; give the one that holds your models")
    places = []
    for path in (folder, *sorted(path for path in folder.iterdir() if path.is_dir() and path.name[0] != ".")):
        try:
            said = verdicts(path, items(path))
            places.append(_Place(path, names_in(path), {verdict.engine: verdict.problem for verdict in said}))
        except CheckpointError:
            continue  # nothing in there
    return places


def _whereabouts(model: Model, places: list[_Place]) -> str:
    from dkt_ros.engines.catalogue import is_begun, missing_parts

    begun = [place for place in places if is_begun(model, place.names)]
    if not begun:
        return "not here"

    # One that runs first, and the smallest folder that has it: the one above it has it too.
    def rank(place: _Place) -> tuple[int, bool, int]:
        return len(missing_parts(model, place.names)), bool(place.problems.get(model.engine)), -len(place.path.parts)

    place = min(begun, key=rank)
    lacking = missing_parts(model, place.names)
    if lacking:
        return f"here, incomplete: {place.path} lacks {', '.join(lacking)}"
    if place.problems.get(model.engine):
        return f"here, but does not run: 'dkt models verify {place.path}' says why"
    return f"here: {place.path}"


def _others(places: list[_Place]) -> list[str]:
    """Where an engine runs on what is none of the published models, such as tiny weights or trained ones."""
    from dkt_ros.engines.catalogue import MODELS, missing_parts

    words = []
    for place in places:
        for engine in (name for name, problem in place.problems.items() if not problem):
            published = any(model.engine == engine and not missing_parts(model, place.names) for model in MODELS)
            below = any(place.path in each.path.parents and not each.problems.get(engine, "-") for each in places)
            if not published and not below:
                words.append(f"engine {engine} runs on {place.path}, which is none of these (not a published size)")
    return words


def _embed(arguments: argparse.Namespace) -> int:
    import torch

    from dkt_ros.engines.prompts import save_prompt
    from dkt_ros.engines.text_encoder import clean, embed

    text, repaired = clean(arguments.text)
    if not text:
        raise CommandError("--text is empty; DKT reads 'depth' or 'normal'")
    if text not in PROMPTS:
        known = " and ".join(map(repr, PROMPTS))
        print(f"dkt models: DKT knows {known} only; no engine here will take {text!r}", file=sys.stderr)
    if not repaired and not text.isascii():  # plain words ftfy does not change
        print(
            "dkt models: no ftfy here, with which the published code repairs text: this text may come out differently",
            file=sys.stderr,
        )
    if arguments.out.suffix != ".safetensors":
        raise CommandError(f"--out {arguments.out}: must end in .safetensors, or no engine would find it")
    folder: Path = arguments.encoder
    if not folder.is_dir():
        raise CommandError(f"{folder}: no such folder; dkt models fetch text-encoder --out {folder}")
    print(f"loading the text encoder in {folder} ...", file=sys.stderr)
    try:
        rows = embed(text, folder, getattr(torch, arguments.precision))
        save_prompt(arguments.out, text, rows)
    except (ValueError, OSError, ImportError) as error:
        raise CommandError(str(error)) from error
    except MemoryError as error:
        raise CommandError("not enough memory for the text encoder; give --precision bfloat16") from error
    print(f"{text!r}: {len(rows)} tokens of {rows.shape[1]} values: {arguments.out}")
    return 0
