"""The text encoder of Wan (UMT5-XXL): run once over a prompt, on a CPU, to make the file of ``prompts``.

Reads the two forms in which it is found: a folder for transformers (``text_encoder/``), or the reference's tensor names
in safetensors. Needs transformers, which the extra ``dkt_ros[models]`` brings.
"""

from __future__ import annotations

import html
import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors import safe_open
from torch import Tensor

from dkt_ros.engines.headers import CheckpointError, Header, is_pickle_name, read_header, refuse_pickle
from dkt_ros.engines.prompts import TEXT_LENGTH

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase, UMT5EncoderModel

EXTRA = "pip install 'dkt_ros[models]'"
#: Where the tokenizer lies below the folder: beside the encoder, as the reference has it, or in the folder itself.
TOKENIZER_FOLDERS = ("tokenizer", "google/umt5-xxl", ".")
_TOKENIZER_FILES = ("tokenizer.json", "spiece.model")
#: The reference's names within a block, and those of transformers.
_BLOCK = {
    "norm1": "layer.0.layer_norm",
    "attn.q": "layer.0.SelfAttention.q",
    "attn.k": "layer.0.SelfAttention.k",
    "attn.v": "layer.0.SelfAttention.v",
    "attn.o": "layer.0.SelfAttention.o",
    "pos_embedding.embedding": "layer.0.SelfAttention.relative_attention_bias",
    "norm2": "layer.1.layer_norm",
    "ffn.gate.0": "layer.1.DenseReluDense.wi_0",
    "ffn.fc1": "layer.1.DenseReluDense.wi_1",
    "ffn.fc2": "layer.1.DenseReluDense.wo",
}
_MAX_DISTANCE = 128


def clean(text: str) -> tuple[str, bool]:
    """The text as the reference cleans it: repaired (ftfy), HTML entities undone twice, runs of white space one space.

    Returns:
        The text, and whether ftfy was there to repair it. It changes only text of a wrong encoding and the like.
    """
    try:
        from ftfy import fix_text
    except ImportError:
        repair: Callable[[str], str] | None = None
    else:
        repair = fix_text
    text = html.unescape(html.unescape(repair(text) if repair else text))
    return re.sub(r"\s+", " ", text).strip(), repair is not None


def embed(text: str, folder: Path, dtype: torch.dtype = torch.bfloat16) -> Tensor:
    """The embedding of ``text`` (cleaned already) by the encoder and the tokenizer in ``folder``.

    Without padding: what the reference gives for the real tokens does not depend on the padding after them.

    Returns:
        (k, text_dim) of ``dtype``, one row for each token, the end token included; at most 512.

    Raises:
        FileNotFoundError, CheckpointError: encoder or tokenizer are missing, or are something else.
        ImportError: transformers is missing; the text names the extra.
    """
    tokenizer = load_tokenizer(folder)
    ids = tokenizer(text, truncation=True, max_length=TEXT_LENGTH, return_tensors="pt")["input_ids"]
    model = load_encoder(folder, dtype)
    vocabulary = model.shared.weight.shape[0]
    if int(ids.max()) >= vocabulary:
        raise CheckpointError(
            f"{folder}: the tokenizer gives token {int(ids.max())}, the encoder knows {vocabulary}; they do not belong "
            "together; fetch both again"
        )
    with torch.inference_mode():
        return model(input_ids=ids).last_hidden_state[0].clone()


def load_tokenizer(folder: Path) -> PreTrainedTokenizerBase:
    """The tokenizer below ``folder``, see ``TOKENIZER_FOLDERS``.

    Raises:
        FileNotFoundError, CheckpointError: there is none, or it cannot be read.
        ImportError: transformers is missing.
    """
    for place in (folder / name for name in TOKENIZER_FOLDERS):
        if any((place / name).is_file() for name in _TOKENIZER_FILES):
            break
    else:
        raise FileNotFoundError(
            f"{folder}: no tokenizer ({' or '.join(_TOKENIZER_FILES)} in tokenizer/ or google/umt5-xxl/); "
            f"dkt models fetch text-encoder --out {folder}"
        )
    try:
        from transformers import AutoTokenizer
    except ImportError as error:
        raise ImportError(f"the tokenizer needs transformers: {EXTRA}") from error
    try:
        return AutoTokenizer.from_pretrained(place, local_files_only=True, trust_remote_code=False)
    except ImportError as error:
        raise ImportError(f"{place}: this tokenizer needs one more package ({error}): {EXTRA}") from error
    except (ValueError, OSError, KeyError, TypeError) as error:
        raise CheckpointError(f"{place}: not a tokenizer that can be read ({error}); fetch it again") from error


def load_encoder(folder: Path, dtype: torch.dtype = torch.float32) -> UMT5EncoderModel:
    """The encoder below ``folder``, in ``dtype``; in memory it is there once.

    Raises:
        FileNotFoundError, CheckpointError: there is none, a pickle, or another model.
        ImportError: transformers is missing.
    """
    try:
        from transformers import UMT5Config, UMT5EncoderModel
    except ImportError as error:
        raise ImportError(f"the text encoder needs transformers: {EXTRA}") from error
    header = read_header(_encoder_file(folder))
    if "token_embedding.weight" in header.shapes:
        names = {name: transformers_name(name) for name in header.shapes}
        config = UMT5Config(**reference_sizes(header))
    elif "encoder.block.0.layer.0.SelfAttention.q.weight" in header.shapes:
        names = _without_copy(header)
        config = _stored_config(header.path.parent / "config.json", UMT5Config)
    else:
        raise CheckpointError(f"{header.path}: not a UMT5 text encoder; dkt models fetch text-encoder --out {folder}")
    with torch.device("meta"):
        model = UMT5EncoderModel(config).eval()
    wanted = {name: tuple(tensor.shape) for name, tensor in model.named_parameters()}
    found = {names[name]: shape for name, shape in header.shapes.items() if name in names}
    if found != wanted:
        wrong = sorted(name for name in found.keys() | wanted.keys() if found.get(name) != wanted.get(name))
        raise CheckpointError(
            f"{header.path}: not the tensors of a UMT5 encoder: {len(wrong)} missing, foreign or of another shape "
            f"{wrong[:3]}; fetch it again"
        )
    for file in header.files:
        with safe_open(file, framework="pt") as stored:
            for name in names.keys() & set(stored.keys()):
                _put(model, names[name], stored.get_tensor(name).to(dtype))
    model.tie_weights()
    return model


def reference_sizes(header: Header) -> dict[str, Any]:
    """Arguments of ``UMT5Config``, read from the shapes under the reference's names; eps and distances are UMT5's."""
    shapes = header.shapes
    try:
        (vocabulary, width), (hidden, _) = shapes["token_embedding.weight"], shapes["blocks.0.ffn.fc1.weight"]
        buckets, heads = shapes["blocks.0.pos_embedding.embedding.weight"]
        inner = shapes["blocks.0.attn.q.weight"][0]
    except (KeyError, ValueError) as error:
        raise CheckpointError(f"{header.path}: not a whole UMT5 encoder ({error}); fetch it again") from error
    return {
        "vocab_size": vocabulary,
        "d_model": width,
        "d_ff": hidden,
        "d_kv": inner // heads,
        "num_heads": heads,
        "num_layers": len({name.split(".")[1] for name in shapes if name.startswith("blocks.")}),
        "relative_attention_num_buckets": buckets,
        "relative_attention_max_distance": _MAX_DISTANCE,
        "layer_norm_epsilon": 1e-6,
        "feed_forward_proj": "gated-gelu",
    }


def transformers_name(name: str) -> str:
    """A tensor's name in transformers, from the reference's; unknown names stay as they are."""
    stem, _, kind = name.rpartition(".")
    if stem == "token_embedding":
        return f"shared.{kind}"
    if stem == "norm":
        return f"encoder.final_layer_norm.{kind}"
    block = re.fullmatch(r"blocks\.(\d+)\.(.+)", stem)
    return f"encoder.block.{block[1]}.{_BLOCK[block[2]]}.{kind}" if block and block[2] in _BLOCK else name


def _encoder_file(folder: Path) -> Path:
    """The one encoder in ``folder/text_encoder`` or ``folder``: an index of shards first, then a single file."""
    for place in (folder / "text_encoder", folder):
        found = sorted(place.glob("*.safetensors.index.json")) or [
            file for file in sorted(place.glob("*.safetensors")) if not file.name.startswith(".")
        ]
        if len(found) > 1 and "-of-" not in found[0].name:
            names = ", ".join(file.name for file in found)
            raise CheckpointError(f"{place}: several files could be the text encoder: {names}; leave one there")
        if found:
            return found[0]
        for file in sorted(place.glob("*")):
            if file.is_file() and is_pickle_name(file):
                refuse_pickle(file)
    raise FileNotFoundError(f"{folder}: no text encoder (*.safetensors); dkt models fetch text-encoder --out {folder}")


def _without_copy(header: Header) -> dict[str, str]:
    """Names as they are; the table of words may be stored under one of its two names, or under both."""
    copy, table = "encoder.embed_tokens.weight", "shared.weight"
    if table in header.shapes:
        return {name: name for name in header.shapes if name != copy}
    return {name: table if name == copy else name for name in header.shapes}


def _stored_config(path: Path, kind: type) -> Any:
    try:
        return kind.from_json_file(path)  # type: ignore[attr-defined]
    except FileNotFoundError as error:
        raise CheckpointError(f"{path}: missing, it tells the encoder's sizes; fetch the folder again") from error
    except (ValueError, TypeError, AttributeError) as error:
        raise CheckpointError(f"{path}: not the sizes of a UMT5 encoder ({error}); fetch it again") from error


def _put(model: torch.nn.Module, name: str, tensor: Tensor) -> None:
    """Replace the parameter ``name`` by ``tensor``."""
    owner, _, leaf = name.rpartition(".")
    setattr(model.get_submodule(owner), leaf, torch.nn.Parameter(tensor, requires_grad=False))
