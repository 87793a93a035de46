"""The files of a rosbag2 folder: which there are, in which order, and how they are unpacked."""

from __future__ import annotations

import errno
import os
import re
import shutil
import sqlite3
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path, PurePath
from typing import Any, BinaryIO

import yaml

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

METADATA = "metadata.yaml"
#: Of a storage file; a compressed one is unpacked before it is read.
SUFFIXES = (".mcap", ".db3")
_STORAGE = re.compile(r"\.(mcap|db3)(\.zstd|\.zst)?$")
#: What a zstd frame begins with. No CDR does: the first byte of its representation identifier is 0.
ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"
#: The largest block of zstd: of a damaged file no more than this is lost before the damage.
_BLOCK = 1 << 17
#: What the system says where a file cannot grow: the disk is full, or the quota, or files cannot be so large.
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def is_bag(path: Path) -> bool:
    """Whether this is a bag by its name, or a folder with the files of one."""
    files = path.iterdir() if path.is_dir() else [path]
    return any(file.name == METADATA or is_storage(file) for file in files)


def is_storage(path: Path) -> bool:
    """Whether a file has the name of a storage file, packed or not."""
    return _STORAGE.search(path.name) is not None


def storage_files(path: Path) -> tuple[list[Path], str]:
    """The storage files of a bag in the order of recording, and "" or what is wrong with its metadata.yaml.

    The order is that of metadata.yaml, else that of the names (2 before 10). Of what metadata.yaml names only the last
    part counts, as in every version of rosbag2's format: nothing outside of the folder is read.
    """
    if not path.is_dir():
        return [path], ""
    there = sorted((file for file in path.iterdir() if file.is_file() and is_storage(file)), key=_counting_order)
    try:
        content: Any = yaml.safe_load((path / METADATA).read_text())
        listed = [str(name) for name in content["rosbag2_bagfile_information"]["relative_file_paths"]]
    except FileNotFoundError:
        return there, f"it has no {METADATA}, as when the recorder was killed"
    except (OSError, UnicodeDecodeError, yaml.YAMLError, LookupError, TypeError) as error:
        return there, f"its {METADATA} cannot be used ({str(error).splitlines()[0]})"
    if not listed:
        return there, f"its {METADATA} names no file"
    named = [path / PurePath(name).name for name in listed]
    found = [file for file in dict.fromkeys(named) if file in there]
    if len(found) == len(set(named)):
        return found, ""
    missing = ", ".join(name for name, file in zip(listed, named, strict=True) if file not in there)
    return there, f"its {METADATA} names {missing}, which is not in the folder"


def _counting_order(file: Path) -> list[tuple[int, str]]:
    """bag_2.mcap before bag_10.mcap: numbers in a name count as numbers."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"([0-9]+)", file.name) if part]


def is_no_room(error: Exception) -> bool:
    """Whether a copy could not be written for want of room, which says nothing about the bag."""
    if isinstance(error, sqlite3.OperationalError):
        # How sqlite names a full disk, and a full quota; the second is its word for every failure to write, too.
        return str(error) in ("database or disk is full", "disk I/O error")
    return isinstance(error, OSError) and error.errno in _NO_ROOM


def has_plain_path(path: Path) -> bool:
    """Whether sqlite opens this very file by ``file:PATH``, as rosbags writes it: a URI, in which ``?``, ``#``, ``%``
    and two slashes at the beginning mean something else."""
    return re.search("[?#%]|^//", str(path.absolute())) is None


def log_of(source: Path) -> Path | None:
    """The write-ahead log of a sqlite3 file, as the preset "resilient" of ``ros2 bag record`` leaves it when it is
    killed; None where there is none."""
    log = source.with_name(f"{source.name}-wal")
    return log if log.exists() and log.stat().st_size > 0 else None


def with_log(source: Path, log: Path, target: Path) -> None:
    """Write a sqlite3 file together with what waits in its write-ahead log. The originals are not touched.

    Raises:
        sqlite3.Error: it is damaged.
        OSError: the target cannot be written.
    """
    shutil.copyfile(source, target)
    shutil.copyfile(log, target.with_name(f"{target.name}-wal"))
    with closing(sqlite3.connect(target)) as database:
        database.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def unpack(data: bytes) -> bytes:
    """One message that was compressed by itself.

    Raises:
        ZstdError: it is damaged.
    """
    return zstd.decompress(data)


def unpack_file(source: Path, target: Path) -> str:
    """Unpack a zstd file as far as it goes; "" or what is lost of it.

    Raises:
        OSError: the target cannot be written.
    """
    with source.open("rb") as packed, target.open("wb") as unpacked:
        try:
            for block in _unpacked(packed):
                unpacked.write(block)
        except (EOFError, zstd.ZstdError) as error:
            what = "cut off" if isinstance(error, EOFError) else f"damaged ({error})"
            return f"{source.name} is {what}: {unpacked.tell()} bytes of its content could be unpacked"
    return ""


def _unpacked(packed: BinaryIO) -> Iterator[bytes]:
    """The content of the zstd frames of a file, all that there is before an error; EOFError inside a frame.

    ``zstd.open`` throws away what it has of the block in which the error shows.
    """
    while data := packed.read(_BLOCK):
        frame = zstd.ZstdDecompressor()
        while True:
            yield frame.decompress(data, _BLOCK)
            if frame.eof:
                break
            data = packed.read(_BLOCK) if frame.needs_input else b""
            if frame.needs_input and not data:
                raise EOFError
        packed.seek(-len(frame.unused_data), os.SEEK_CUR)
