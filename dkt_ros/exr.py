"""OpenEXR pictures as arrays. OpenCV 5's wheels are built without EXR, so this takes the OpenEXR package."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray


class PackageMissing(ValueError):
    """A package that reads this kind of file is not installed; the file itself may be well."""


def read_exr(path: Path) -> NDArray[np.floating[Any]]:
    """(H, W, C) of the file's colour channels, R first (C = 3 or 4), or of its only channel (C = 1); dtype as stored.

    Raises:
        FileNotFoundError: there is no such file.
        PackageMissing: OpenEXR is not installed.
        ValueError: the file is damaged, or holds several channels that are not colours.
    """
    try:
        import OpenEXR
    except ImportError as error:
        raise PackageMissing(f"{path}: reading EXR needs OpenEXR: pip install OpenEXR") from error
    if not path.exists():
        raise FileNotFoundError(f"{path}: no such file")
    try:
        with OpenEXR.File(str(path)) as file:
            channels = {name: np.array(channel.pixels) for name, channel in file.channels().items()}
    except (RuntimeError, ValueError) as error:
        raise ValueError(f"{path}: damaged, or no EXR file ({error})") from error
    names = [name for name in ("RGB", "RGBA") if name in channels] or list(channels)
    if len(names) != 1:
        raise ValueError(f"{path}: channels {', '.join(channels) or 'none'}; expected RGB, RGBA or a single one")
    pixels = channels[names[0]]
    return pixels if pixels.ndim == 3 else pixels[..., None]
