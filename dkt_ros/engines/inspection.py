"""What lies in a folder of weights, in words, and which engines run on it. Reads headers only; no torch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from dkt_ros.engines.beside import attention_heads, denoise_step
from dkt_ros.engines.dkt_parts import find_dkt
from dkt_ros.engines.dvd_parts import find_dvd
from dkt_ros.engines.headers import (
    CheckpointError,
    Header,
    converted,
    read_header,
    refuse_absent,
    words_of_converted,
)
from dkt_ros.engines.layouts import Layout, identify
from dkt_ros.engines.parts import NORMALS_FOLDER, find_parts, pickles, weight_files


@dataclass(frozen=True)
class Item:
    """One weight file, or set of shards.

    Attributes:
        path: as given, or the index or first shard.
        files: all of them.
        layout: what it is; None if it cannot be read.
        problem: why it is of no use, with the remedy; empty if it is.
        bytes: on the disk.
    """

    path: Path
    files: tuple[Path, ...]
    layout: Layout | None
    problem: str
    bytes: int

    @property
    def name(self) -> str:
        """Of the layout; empty if it cannot be read."""
        return self.layout.name if self.layout else ""


@dataclass(frozen=True)
class Verdict:
    """Whether an engine runs on a folder or file: ``problem`` says why not, with the remedy, or is empty."""

    engine: str
    problem: str


def items(path: Path) -> list[Item]:
    """Everything at ``path``: a file; or what is in a folder, in ``normal/`` below it, and the pickles.

    Raises:
        FileNotFoundError: there is nothing.
        CheckpointError: no weights in the folder.
    """
    refuse_absent(path)
    if not path.is_dir():
        return [_item(path)]
    below = path / NORMALS_FOLDER
    found = [_item(file) for file in (*_files(path), *_files(below))]
    left = [_pickle(file) for file in (*pickles(path), *pickles(below))]
    return [*found, *left] or [_item(file) for file in weight_files(path)]


def verdicts(path: Path, found: list[Item]) -> list[Verdict]:
    """For each engine that something in ``found`` is a part of whether it runs; the codec, which two share, is none.

    On a single file only engines are judged that need no more.
    """
    roles = {item.layout.role for item in found if item.layout}
    said = []
    for name, engine in ENGINES.items():
        if roles & engine.own and (path.is_dir() or engine.one_file):
            problem = ""
            try:
                engine.check(path)
            except (CheckpointError, FileNotFoundError) as error:
                problem = str(error)
            said.append(Verdict(name, problem))
    return said


def names_in(folder: Path) -> list[str]:
    """Names of the usable layouts in ``folder``; those in ``normal/`` have that before them."""
    below = folder / NORMALS_FOLDER
    return [
        f"{NORMALS_FOLDER}/{item.name}" if below in item.path.parents else item.name
        for item in items(folder)
        if item.name and not item.problem
    ]


def _files(folder: Path) -> list[Path]:
    """As ``weight_files``, but where that refuses (a damaged index, say) each file by itself, for each to be judged."""
    try:
        return weight_files(folder) if folder.is_dir() else []
    except CheckpointError:
        files = (file for file in folder.rglob("*.safetensors*") if not file.name.startswith("."))
        return sorted(file for file in files if NORMALS_FOLDER not in file.relative_to(folder).parts[:-1])


def _item(path: Path) -> Item:
    try:
        header = read_header(path)
        layout = identify(path)
        return Item(path, header.files, layout, layout.refusal, sum(file.stat().st_size for file in header.files))
    except CheckpointError as error:
        return Item(path, (path,), None, str(error), path.stat().st_size)


def _pickle(path: Path) -> Item:
    """One that has been converted is in nobody's way."""
    goal = converted(path)
    if goal is None:
        return _item(path)
    layout = Layout("unknown", "pickle", f"a pickle, not read: {words_of_converted(goal)}")
    return Item(path, (path,), layout, "", path.stat().st_size)


def _check_dkt(path: Path) -> None:
    parts, _ = find_dkt(path)
    _check_heads(read_header(parts["transformer"]))


def _check_dvd(path: Path) -> None:
    parts = find_dvd(path)
    file = parts.get("dvd") or parts["plain transformer"]
    denoise_step(file.with_name("model_config.yaml"))
    _check_heads(read_header(file))


def _check_heads(header: Header) -> None:
    attention_heads(header, identify(header.path).sizes["dim"])


def _check_depthlab(path: Path) -> None:
    find_parts(path, "depthlab denoiser", "depthlab reference", "depthlab mapping", "image vae", "image encoder")


def _check_completion(path: Path) -> None:
    find_parts(path, "completion")


@dataclass(frozen=True)
class _Engine:
    """The roles that no other engine has, what raises if it does not run, and whether it can be given one file."""

    own: set[str]
    check: Callable[[Path], None]
    one_file: bool = False


ENGINES = {
    "dkt": _Engine({"transformer", "lora", "prompt", "normal lora", "dkt completion"}, _check_dkt),
    "dvd": _Engine({"dvd", "dvd lora", "dvd completion"}, _check_dvd, one_file=True),
    "depthlab": _Engine(
        {"depthlab denoiser", "depthlab reference", "depthlab mapping", "image encoder"}, _check_depthlab
    ),
    "completion": _Engine({"completion"}, _check_completion, one_file=True),
}
