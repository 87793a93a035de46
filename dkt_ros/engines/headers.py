"""What a weight file says about itself, read from its header alone: no torch, no tensor, a few kilobytes of reading.

A safetensors file is 8 bytes (little-endian length n), n bytes of JSON (name -> dtype, shape, byte range), the values.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import count, takewhile
from pathlib import Path
from typing import Any

#: name -> shape
Shapes = Mapping[str, tuple[int, ...]]

_PICKLES = (".pt", ".pth", ".ckpt", ".bin", ".pkl")
_BYTES = {
    **dict.fromkeys(("F64", "I64", "U64", "C64"), 8),
    **dict.fromkeys(("F32", "I32", "U32"), 4),
    **dict.fromkeys(("F16", "BF16", "I16", "U16"), 2),
    **dict.fromkeys(("I8", "U8", "BOOL", "F8_E4M3", "F8_E5M2", "F8_E8M0"), 1),
}
_LARGEST_HEADER = 100_000_000
#: What reading JSON that is not as it should be ends in; the last is for brackets nested without end.
_DAMAGES = (ValueError, KeyError, TypeError, AttributeError, RecursionError)
_NUMBERED = re.compile(r"^(.*)-(\d{5})-of-(\d{5})\.safetensors$")
_INDEX = ".safetensors.index.json"


class CheckpointError(ValueError):
    """A weight file cannot be used; the message names the file, what is wrong with it and the remedy."""


@dataclass(frozen=True)
class Header:
    """Names, shapes and dtypes of one model's tensors, from one file or from all its shards.

    Attributes:
        path: the file that the user knows: the only one, the index, or the first shard.
        files: all files with tensors.
        metadata: the text fields of the header (of all shards).
        shapes: by tensor name, as stored.
        dtypes: by tensor name, as safetensors calls them ("F32", "BF16", ...).
        homes: the file of each tensor.
    """

    path: Path
    files: tuple[Path, ...]
    metadata: dict[str, str] = field(default_factory=dict)
    shapes: dict[str, tuple[int, ...]] = field(default_factory=dict)
    dtypes: dict[str, str] = field(default_factory=dict)
    homes: dict[str, Path] = field(default_factory=dict)

    @property
    def values(self) -> int:
        """Numbers in all tensors together."""
        return sum(math.prod(shape) for shape in self.shapes.values())

    @property
    def bytes(self) -> int:
        """Bytes of all tensors together."""
        return sum(math.prod(shape) * _BYTES[self.dtypes[name]] for name, shape in self.shapes.items())

    def config(self) -> dict[str, Any]:
        """The JSON in the metadata field "config", or nothing.

        Raises:
            CheckpointError: the field is there and is not a JSON object.
        """
        text = self.metadata.get("config", "{}")
        try:
            config = json.loads(text)
        except ValueError:
            config = None
        if not isinstance(config, dict):
            raise CheckpointError(f"{self.path}: the 'config' in its header is not a JSON object; write the file again")
        return config


def key_shape_md5(shapes: Shapes) -> str:
    """A fingerprint of an architecture: the md5 of its tensors' names and shapes, whatever the values.

    Every tensor gives the strings ``name:d0_d1_...`` and ``name``; all are sorted, joined with "," and hashed, as in
    DiffSynth-Studio's table of models. Prefixes change it: strip them first.
    """
    words = [f"{name}:{'_'.join(map(str, shape))}" for name, shape in shapes.items()]
    return hashlib.md5(",".join(sorted([*words, *shapes])).encode(), usedforsecurity=False).hexdigest()


def refuse_absent(path: Path) -> None:
    """Raise FileNotFoundError if there is neither file nor folder at ``path``."""
    if not path.exists():
        raise FileNotFoundError(f"{path}: no such weight file or folder")


def read_header(path: Path | str) -> Header:
    """Header of the model in ``path``: one file, an ``*.safetensors.index.json``, or any one shard of a numbered set.

    Raises:
        FileNotFoundError: no such file.
        CheckpointError: a pickle (with the command that converts it), truncated, damaged or not safetensors, or a set
            with missing shards.
    """
    path = Path(path)
    refuse_absent(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: a folder, and one weight file is needed here")
    if path.name.endswith(_INDEX):
        return _read_indexed(path)
    numbered = _NUMBERED.match(path.name)
    if not numbered:
        return _joined(path, [path])
    stem, total = numbered[1], int(numbered[3])
    shards = [path.with_name(f"{stem}-{i + 1:05d}-of-{total:05d}.safetensors") for i in range(total)]
    if path not in shards:
        raise CheckpointError(f"{path}: its name counts shards wrongly ({numbered[2]} of {numbered[3]}); rename it")
    _refuse_missing(path, shards)
    return _joined(shards[0], shards)


def refuse_pickle(path: Path) -> None:
    """Raise CheckpointError with the way to convert it if ``path`` is a pickle, by its name or by its first bytes."""
    with open(path, "rb") as file:
        first = file.read(9)
    stream = first[:1] == b"\x80" and first[1:2] in (b"\x02", b"\x03", b"\x04", b"\x05")
    # A safetensors header of 640 bytes (0x280) begins with the same two bytes; its JSON comes right after the eight.
    stream = stream and first[8:] != b"{"
    if stream or first.startswith(b"PK\x03\x04") or is_pickle_name(path):
        done = converted(path)
        remedy = f"{words_of_converted(done)}, else rename it" if done else f"convert it: {conversion_command(path)}"
        raise CheckpointError(f"{path}: a pickle can run code when it is read and is refused; {remedy}")


def is_pickle_name(path: Path) -> bool:
    """Whether files of this name are pickles."""
    return path.suffix.lower() in _PICKLES


def conversion_command(path: Path) -> str:
    """The shell command that turns a pickled state dict into safetensors; ``weights_only`` keeps it from running code.

    It opens the wrappers "model_state", "model" and "state_dict", drops what is no tensor, and untangles shared ones.
    What is there already is not overwritten, nor what comes there before the command is given.
    """
    goal = next(goal for goal in _goals(path) if not goal.exists())
    script = (
        "import os, sys, torch; from safetensors.torch import save_file; "
        "os.path.exists(sys.argv[2]) and sys.exit(sys.argv[2] + ': is there already'); "
        "t = torch.load(sys.argv[1], map_location='cpu', weights_only=True); "
        "t = next((t[k] for k in ('model_state', 'model', 'state_dict') if isinstance(t.get(k), dict)), t); "
        "save_file({k: v.clone().contiguous() for k, v in t.items() if torch.is_tensor(v)}, sys.argv[2])"
    )
    return f'python3 -c "{script}" {shlex.quote(str(path))} {shlex.quote(str(goal))}'


def converted(path: Path) -> Path | None:
    """The whole safetensors file that the conversion of the pickle ``path`` has left; None if there is none."""
    for goal in takewhile(Path.exists, _goals(path)):
        try:
            _read_one(goal)
        except (CheckpointError, OSError):
            continue
        return goal
    return None


def words_of_converted(goal: Path) -> str:
    """What to do with a pickle that has been converted into ``goal``."""
    return f"{goal.name} is there already and is read instead; if that was made from it, the pickle can be deleted"


def _goals(path: Path) -> Iterator[Path]:
    """Where the conversion of ``path`` goes, or where it goes if that is taken, and so on."""
    if path.suffix != ".safetensors":
        yield path.with_suffix(".safetensors")
    yield path.with_name(f"{path.stem}_converted.safetensors")
    yield from (path.with_name(f"{path.stem}_converted_{i}.safetensors") for i in count(2))


def _joined(path: Path, files: list[Path]) -> Header:
    header = Header(path, tuple(files))
    for file in files:
        metadata, tensors = _read_one(file)
        header.metadata.update(metadata)
        for name, (dtype, shape) in tensors.items():
            if name in header.shapes:
                raise CheckpointError(f"{file}: {name} is also in {header.homes[name].name}; fetch the set again")
            header.shapes[name], header.dtypes[name], header.homes[name] = shape, dtype, file
    return header


def _read_indexed(index: Path) -> Header:
    try:
        homes = json.loads(index.read_text())["weight_map"]
        files = sorted({index.parent / str(name) for name in homes.values()})
    except _DAMAGES as error:
        raise CheckpointError(f"{index}: not an index of shards ({error}); fetch it again") from error
    if any(file.parent != index.parent for file in files):
        raise CheckpointError(f"{index}: it names files outside its own folder; fetch it again")
    _refuse_missing(index, files)
    header = _joined(index, files)
    wrong = sorted(name for name in homes if header.homes.get(name) != index.parent / homes[name])
    if wrong or len(homes) != len(header.shapes):
        raise CheckpointError(
            f"{index}: does not describe its shards: {len(homes)} tensors listed, {len(header.shapes)} there, "
            f"{len(wrong)} not where it says {wrong[:3]}; fetch index and shards of one revision"
        )
    return header


def _refuse_missing(path: Path, shards: list[Path]) -> None:
    missing = [shard.name for shard in shards if not shard.is_file()]
    if missing:
        raise CheckpointError(f"{path}: {len(missing)} of {len(shards)} shards are missing: {missing[:3]}; fetch them")


def _entries(text: bytes) -> dict[str, Any]:
    """The JSON of a header; ValueError in words of ours, not in the parser's."""
    if not text:
        raise ValueError("it ends before its header does")
    try:
        entries: dict[str, Any] = json.loads(text)
    except ValueError as error:
        raise ValueError("its header is not JSON") from error
    return entries


def _read_one(path: Path) -> tuple[dict[str, str], dict[str, tuple[str, tuple[int, ...]]]]:
    refuse_pickle(path)
    size = path.stat().st_size
    with open(path, "rb") as file:
        first = file.read(8)
        if first == b"version ":
            raise CheckpointError(f"{path}: a Git LFS pointer, not the weights; 'git lfs pull', or download the file")
        length = int.from_bytes(first, "little")
        brace = file.read(1)
        if brace != b"{" and path.suffix != ".safetensors":
            raise CheckpointError(f"{path}: not a weight file; one in the format safetensors is expected")
        whole = len(first) == 8 and 0 < length <= min(size - 8, _LARGEST_HEADER)
        text = brace + file.read(length - 1) if whole else b""
    try:
        entries = _entries(text)
        metadata = {str(k): str(v) for k, v in entries.pop("__metadata__", {}).items()}
        tensors, end = {}, 0
        for name, entry in sorted(entries.items(), key=lambda item: tuple(item[1]["data_offsets"])):
            shape, (begin, stop) = tuple(entry["shape"]), entry["data_offsets"]
            if any(type(side) is not int or side < 0 for side in shape):
                raise ValueError(f"{name} has an impossible shape")
            if begin != end or stop - begin != math.prod(shape) * _BYTES[entry["dtype"]]:
                raise ValueError(f"{name} has an impossible place")
            tensors[name], end = (entry["dtype"], shape), stop
    except _DAMAGES as error:
        raise CheckpointError(f"{path}: truncated or not safetensors ({error}); fetch or copy it again") from error
    if 8 + length + end != size:
        word = "truncated" if 8 + length + end > size else "damaged"
        raise CheckpointError(
            f"{path}: {word}: {size:,} bytes long, its header speaks of {8 + length + end:,}; fetch or copy it again"
        )
    return metadata, tensors
