"""Files that are either whole or not there."""

from __future__ import annotations

import os
import platform
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def written_whole(path: Path | str) -> Iterator[Path]:
    """Gives a path beside ``path`` to write to; it takes the name ``path`` when the block ends well.

    On any exception, Ctrl-C included, nothing is left and what was at ``path`` before stays. The temporary name keeps
    the suffix, for writers that choose the format by it, and holds the machine's name, as processes in containers on a
    shared folder may have the same number. The file has the mode that the umask gives, whatever its
    writer left (safetensors leaves 0600, and nobody else could read it).
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.stem}.{platform.node()}.{os.getpid()}.partial{path.suffix}")
    try:
        temporary.touch()
        mode = stat.S_IMODE(temporary.stat().st_mode)
        temporary.unlink()  # a block that writes nothing shall fail, not leave an empty file
        yield temporary
        if stat.S_IMODE(temporary.stat().st_mode) != mode:
            temporary.chmod(mode)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
