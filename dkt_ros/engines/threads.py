"""How many CPU threads torch uses."""

from __future__ import annotations

import torch


def use_threads(threads: int | None) -> None:
    """Set torch's CPU threads for the whole process; None leaves torch's own choice.

    Raises:
        ValueError: fewer than one.
    """
    if threads is None:
        return
    if threads < 1:
        raise ValueError(f"threads = {threads}: must be at least 1")
    torch.set_num_threads(threads)
