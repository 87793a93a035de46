"""``dkt models verify``: which model this is, in words, and whether an engine runs on it."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from dkt_ros.commands import CommandError

if TYPE_CHECKING:
    from dkt_ros.engines.inspection import Item


#: Of which engines a file that is not enough for one is a part, by its role.
_ENGINES = {
    **dict.fromkeys(("transformer", "lora", "prompt"), "dkt"),
    **dict.fromkeys(("codec", "tiny codec"), "dkt or dvd"),
    **dict.fromkeys(
        ("depthlab denoiser", "depthlab reference", "depthlab mapping", "image vae", "image encoder"), "depthlab"
    ),
}
#: Roles of which there are no published shapes, or none that are known here.
_UNFIXED = ("completion", "prompt", "lora", "tiny codec", "unknown")


def verify(arguments: argparse.Namespace) -> int:
    """Print what is there and which engines run on it; if none does, the reasons are a ``CommandError``."""
    from dkt_ros.engines.headers import CheckpointError, is_pickle_name
    from dkt_ros.engines.inspection import items, verdicts

    path: Path = arguments.path
    try:
        found = items(path)
    except (FileNotFoundError, CheckpointError) as error:
        raise CommandError(str(error)) from error
    said = verdicts(path, found)
    runs = any(not verdict.problem for verdict in said)
    for item in found:
        print_item(item, path)
        if runs and item.problem:  # it is in nobody's way
            pickle = is_pickle_name(item.path)
            print("    a pickle; what runs here does without it" if pickle else f"    {item.problem}")
    for verdict in said:
        run = f"runs on it: dkt run INPUT --engine {verdict.engine} --weights {path} --out OUT"
        print(f"engine {verdict.engine}: {'does not run on it' if verdict.problem else run}")
        if verdict.problem:
            _print_remedy(verdict.engine, path)
        if runs and verdict.problem:
            print(f"    {verdict.problem}")
    every = [*(item.problem for item in found), *(verdict.problem for verdict in said)]
    reasons = [] if runs else [reason for reason in every if reason]
    if arguments.sha256:
        reasons += _compare_sums(path, found)
    if reasons:
        raise CommandError("\n".join(dict.fromkeys(reasons)))
    if not said:
        for words in dict.fromkeys(_belongs(item) for item in found if item.layout and item.name != "pickle"):
            print(f"a part: no engine runs on it alone; {words}")
    return 0


def _belongs(item: Item) -> str:
    """To which models a part belongs, and how it is used."""
    from dkt_ros.engines.catalogue import belongs_to

    role = item.layout.role if item.layout else ""
    if role == "text encoder":
        return "'dkt models embed-prompt' uses it, with its folder as --encoder"
    models = ", ".join(belongs_to(item.name))
    return (
        f"it belongs to engine {_ENGINES.get(role, '')}{models and f' ({models})'}: put it into a folder DIR with the "
        "other parts; 'dkt models verify DIR' names those that are missing, and 'dkt run' takes --weights DIR"
    )


def _print_remedy(engine: str, path: Path) -> None:
    """How to get what is missing of the model that is nearest to what is there."""
    from dkt_ros.engines.catalogue import MODELS, is_begun, missing_parts, next_steps
    from dkt_ros.engines.inspection import names_in

    folder = path if path.is_dir() else path.parent
    names = names_in(folder)
    begun = (model for model in MODELS if model.engine == engine and is_begun(model, names))
    lacking = {model: missing_parts(model, names) for model in begun}
    model = min(lacking, key=lambda each: len(lacking[each]), default=None)
    if model and lacking[model]:
        print(f"    for {model.name} it lacks {', '.join(lacking[model])}:")
        for step in next_steps(model, names, folder):
            print(f"    {step}")


def print_item(item: Item, path: Path) -> None:
    """Say what one weight file is; ``path`` is what the user gave."""
    name = str(item.path.relative_to(path)) if path.is_dir() else item.path.name
    shards = f", {len(item.files)} shards" if len(item.files) > 1 else ""
    words = item.layout.in_words if item.layout else "not read"
    print(f"{name} ({size_words(item.bytes)}{shards}): {'REFUSED: ' if item.problem else ''}{words}")
    if item.layout and item.layout.role not in _UNFIXED:
        known = "those of the published file" if item.layout.published else "not those of a published file"
        print(f"    names and shapes {item.layout.md5}: {known}")


def _compare_sums(path: Path, found: list[Item]) -> list[str]:
    """Print the sha256 of every file; what contradicts a known or a noted one."""
    from dkt_ros.engines.catalogue import KNOWN_SHA256
    from dkt_ros.engines.fetching import FetchError, read_record, sha256_of

    folder = path if path.is_dir() else path.parent
    try:
        noted = read_record(folder)["files"]
    except FetchError as error:
        return [str(error)]
    problems = []
    for item in found:
        for file in item.files:
            digest = sha256_of(file)
            inside = file.relative_to(folder).as_posix()
            before = noted.get(inside, {}).get("sha256", digest)
            print(f"{inside}: sha256 {digest}: {KNOWN_SHA256.get(digest, 'no sum of it is published here')}")
            if before != digest:
                problems.append(f"{file}: changed since it was fetched (it was {before}); remove it and fetch it again")
            if digest in KNOWN_SHA256:
                continue
            if item.name == "taew2_1":
                again = f"remove it and 'dkt models fetch tiny-vae --out {folder}'"
                problems.append(f"{file}: not the published taew2_1, perhaps the codec of Hunyuan; {again}")
            if file.name == "dvd_1.1.safetensors":
                again = f"remove it and 'dkt models fetch dvd-1.1 --out {folder}'"
                problems.append(f"{file}: by its name DVD v1.1, by its sum not; {again}")
    return problems


def size_words(count: int) -> str:
    """A number of bytes as people say it."""
    for unit, size in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= size:
            return f"{count / size:.2f} {unit}"
    return f"{count} bytes"
