"""Which files belong together for DVD. No torch: ``dkt models verify`` asks the same as the engine."""

from __future__ import annotations

from pathlib import Path

from dkt_ros.engines.headers import CheckpointError
from dkt_ros.engines.layouts import identify
from dkt_ros.engines.parts import Places, find_parts, places

#: Adapters of our own training, the one for completion first.
ADAPTERS = ("dvd completion", "dvd lora")


def find_dvd(path: Places, *more: str, adapted: bool = True) -> dict[str, Path]:
    """The parts of DVD at ``path``, by role.

    "dvd", the published file, which holds base, adapters and (usually) the codec; or, with adapters of our own
    training, "plain transformer" in its place. One of these adapters, if there are any: they take the place of the
    published ones. "codec" where the file has none.

    Args:
        path: a file or folder; or several places, see ``find_parts``. The codec may lie beside a file that is given.
        more: further roles that must be there, which may lie beside it, too.
        adapted: whether the plain base is of no use without adapters; False for training, which makes them.

    Raises:
        FileNotFoundError, CheckpointError: see ``find_parts``.
    """
    found = find_parts(path, optional=("dvd", "plain transformer", *ADAPTERS))
    ours = next((role for role in ADAPTERS if found[role]), "")
    base = "dvd"
    if not found["dvd"] and found["plain transformer"]:
        base = "plain transformer"
        if adapted and not ours:
            raise CheckpointError(
                f"{found[base][0]}: {identify(found[base][0]).in_words}; give that adapter after it, or DVD's own file"
            )
    parts = {role: files[0] for role, files in find_parts(path, base, *([ours] if ours else [])).items()}
    folders = [place if place.is_dir() else place.parent for place in places(path)]
    codec = [] if base == "dvd" and identify(parts[base]).sizes["codec"] else ["codec"]
    for role in (*codec, *more):
        parts[role] = find_parts(list(dict.fromkeys(folders)), role)[role][0]
    return parts
