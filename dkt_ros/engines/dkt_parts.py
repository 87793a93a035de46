"""Which files of a DKT folder belong together. No torch: ``dkt models verify`` asks the same as the engine."""

from __future__ import annotations

from pathlib import Path

from dkt_ros.engines.headers import CheckpointError
from dkt_ros.engines.layouts import identify
from dkt_ros.engines.parts import NORMALS_FOLDER, find_parts, refuse_mixture


def find_dkt(folder: Path, *more: str) -> tuple[dict[str, Path], list[tuple[Path, Path]]]:
    """The parts of DKT in ``folder``.

    Args:
        more: further roles that must be there.

    Returns:
        Files by role; and pairs of a LoRA and its prompt embedding: for depth, then for normals where the folder has a
        subfolder ``normal``.

    Raises:
        FileNotFoundError, CheckpointError: see ``find_parts``; or a LoRA or prompt that is for the other of the two.
    """
    found = find_parts(folder, "transformer", "codec", "lora", "prompt", *more)
    parts = {role: files[0] for role, files in found.items()}
    pairs = [_checked("depth", parts["lora"], parts["prompt"])]
    if (folder / NORMALS_FOLDER).is_dir():
        found = find_parts(folder / NORMALS_FOLDER, "lora", "prompt")
        pairs.append(_checked("normal", found["lora"][0], found["prompt"][0]))
        refuse_mixture({"transformer": [parts["transformer"]], **found})
    return parts, pairs


def _checked(text: str, lora: Path, prompt: Path) -> tuple[Path, Path]:
    """LoRA and prompt embedding, refused where they are for the other of "depth" and "normal".

    A LoRA does not say what it is for; its published name does.
    """
    name = lora.name.lower()
    if text == "normal" and "depth" in name and "normal" not in name:
        raise CheckpointError(
            f"{lora}: by its name a LoRA for depth, in the folder for normals; put a LoRA for normals there, or remove "
            "the folder"
        )
    if text == "depth" and "normal" in name and "depth" not in name:
        raise CheckpointError(
            f"{lora}: by its name a LoRA for normals, and there is none for depth; normals alone are not enough: fetch "
            f"a depth LoRA, and put this one and the prompt embedding of 'normal' into {NORMALS_FOLDER}/"
        )
    found = identify(prompt).sizes["text"]
    if found != text:
        raise CheckpointError(
            f"{prompt}: the embedding of {found!r}, and {text!r} is needed here; make it with "
            f"'dkt models embed-prompt --text {text}'"
        )
    return lora, prompt
