"""A prompt's embedding in a file of a few rows, so that the text encoder (about 11 GB) is needed once and never again.

The file is safetensors with one tensor "rows" (k, text_dim), float32 or bfloat16, one row for each real token (the end
token is one), and the metadata {"text": "depth", "format": "dkt_ros prompt 1"}.
"""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from dkt_ros.engines.headers import CheckpointError
from dkt_ros.engines.layouts import identify
from dkt_ros.engines.other_layouts import PROMPT_FORMAT
from dkt_ros.files import written_whole

#: Rows that Wan's transformers read. Those after the real tokens are zero, and count: attention has no mask.
TEXT_LENGTH = 512

_REMEDY = "make it with 'dkt models embed-prompt'"


def save_prompt(path: Path | str, text: str, rows: Tensor) -> None:
    """Write the rows (k, text_dim), 1 <= k <= 512, of ``text`` to ``path``, wholly or not at all.

    Raises:
        ValueError: no text, rows of another shape, or a value that is not finite.
    """
    rows = rows.detach().to("cpu").contiguous()
    _check(rows, str(path))
    if not text:
        raise ValueError(f"{path}: a prompt needs a text; give --text")
    with written_whole(path) as temporary:
        save_file({"rows": rows}, temporary, metadata={"text": text, "format": PROMPT_FORMAT})


def load_prompt(path: Path | str, text_dim: int) -> Tensor:
    """The embedding as the transformer reads it: (512, ``text_dim``) float32, zero after the real tokens.

    Raises:
        FileNotFoundError: no such file.
        CheckpointError: another kind of file, or an embedding for a transformer of another text width.
    """
    layout = identify(path)
    if layout.role != "prompt":
        raise CheckpointError(f"{path}: not a prompt embedding but {layout.in_words}; {_REMEDY}")
    if layout.refusal:
        raise CheckpointError(layout.refusal)
    rows = load_file(path)["rows"].float()
    try:
        _check(rows, str(path))
    except ValueError as error:
        raise CheckpointError(f"{error}; {_REMEDY}") from error
    if rows.shape[1] != text_dim:
        raise CheckpointError(
            f"{path}: rows of {rows.shape[1]} values, the transformer reads {text_dim}; {_REMEDY} from the encoder "
            "that belongs to the transformer"
        )
    return torch.nn.functional.pad(rows, (0, 0, 0, TEXT_LENGTH - len(rows)))


def _check(rows: Tensor, name: str) -> None:
    if rows.ndim != 2 or not 1 <= len(rows) <= TEXT_LENGTH or not rows.shape[1]:
        raise ValueError(f"{name}: a prompt embedding of shape {tuple(rows.shape)}; it has 1 to {TEXT_LENGTH} rows")
    if not torch.isfinite(rows).all():
        raise ValueError(f"{name}: a prompt embedding with values that are not finite")
