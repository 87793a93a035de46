"""Which files of a DKT folder belong together. No torch: ``dkt models verify`` asks the same as the engine."""

from __future__ import annotations

from pathlib import Path

from dkt_ros.engines.headers import CheckpointError
from dkt_ros.engines.layouts import identify
from dkt_ros.engines.parts import NORMALS_FOLDER, Places, find_parts, places, refuse_mixture, weight_files


def find_dkt(path: Places, *more: str) -> tuple[dict[str, Path], list[tuple[Path, Path]]]:
    """The parts of DKT at ``path``.

    An adapter for completion, of our own training, takes the place of the LoRA for depth; it is then among the files
    under its own role, too. One for normals needs nothing in ``normal`` but the prompt embedding.

    Args:
        path: a folder; or several places, see ``find_parts``.
        more: further roles that must be there.

    Returns:
        Files by role; and pairs of a LoRA and its prompt embedding: for depth, then for normals where there is such a
        LoRA, of our training or in a subfolder ``normal``. A subfolder with a prompt alone is left out.

    Raises:
        FileNotFoundError, CheckpointError: see ``find_parts``; or a LoRA or prompt that is for the other of the two.
    """
    ours = find_parts(path, optional=("dkt completion", "normal lora"))
    depth = "dkt completion" if ours["dkt completion"] else "lora"
    found = find_parts(path, "transformer", "codec", depth, "prompt", *more)
    parts = {role: files[0] for role, files in found.items()}
    pairs = [_checked("depth", parts[depth], parts["prompt"])]
    below = [place / NORMALS_FOLDER for place in places(path) if (place / NORMALS_FOLDER).is_dir()]
    if not ours["normal lora"] and all(_only_prompt(place) for place in below):
        below = []
    normals = ours["normal lora"] or (find_parts(below, optional=["normal lora"])["normal lora"] if below else [])
    if normals and not below:
        raise CheckpointError(
            f"{normals[0]}: a LoRA for normals, and there is no embedding of 'normal' in a folder {NORMALS_FOLDER}/ "
            f"beside the base; make it with 'dkt models embed-prompt --text normal'"
        )
    if below:
        found = find_parts(below, *(() if normals else ("lora",)), "prompt")
        lora = (normals or found["lora"])[0]
        pairs.append(_checked("normal", lora, found["prompt"][0]))
        refuse_mixture({"transformer": [parts["transformer"]], "lora": [lora], "prompt": found["prompt"]})
    return parts, pairs


def _only_prompt(folder: Path) -> bool:
    """Whether a folder for normals awaits the LoRA that training on it will give."""
    return {identify(file).role for file in weight_files(folder)} == {"prompt"}


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
    return lora, check_prompt(text, prompt)


def check_prompt(text: str, prompt: Path) -> Path:
    """``prompt``; raises CheckpointError if it is the embedding of another text."""
    found = identify(prompt).sizes["text"]
    if found != text:
        raise CheckpointError(
            f"{prompt}: the embedding of {found!r}, and {text!r} is needed here; make it with "
            f"'dkt models embed-prompt --text {text}'"
        )
    return prompt
