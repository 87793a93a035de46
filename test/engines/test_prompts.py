"""Prompt embeddings: a file of a few rows, and the text encoder that makes it once."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from dkt_ros.engines.headers import CheckpointError
from dkt_ros.engines.prompts import load_prompt, save_prompt
from dkt_ros.engines.text_encoder import clean, embed, load_encoder, load_tokenizer, transformers_name

from .published import DKT

transformers = pytest.importorskip("transformers", reason="the extra 'models' is not installed")

WORDS = {"<pad>": 0, "</s>": 1, "<unk>": 2, "depth": 7, "normal": 9, "transparent": 11, "object": 13}


def tokenizer_folder(folder: Path) -> Path:
    """A tokenizer of a few whole words that ends with </s>, as the real one does."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors

    tokenizer = Tokenizer(models.WordLevel(WORDS, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing("$A </s>", special_tokens=[("</s>", WORDS["</s>"])])
    fast = transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", eos_token="</s>", unk_token="<unk>"
    )
    fast.save_pretrained(folder)
    return folder


@pytest.fixture
def reference(tmp_path: Path) -> Path:
    """A folder with the tiny encoder under the reference's names, and the tokenizer where the reference has it."""
    (tmp_path / "enc.safetensors").write_bytes((DKT / "t5_tiny_reference.safetensors").read_bytes())
    tokenizer_folder(tmp_path / "google" / "umt5-xxl")
    return tmp_path


@pytest.fixture
def published(reference: Path, tmp_path: Path) -> Path:
    """The same encoder as transformers stores it, in two shards, and the tokenizer beside it."""
    folder = tmp_path / "published"
    load_encoder(reference).save_pretrained(folder / "text_encoder", max_shard_size="40KB")
    assert len(list((folder / "text_encoder").glob("*-of-*.safetensors"))) > 1
    tokenizer_folder(folder / "tokenizer")
    return folder


def test_the_encoder_gives_the_reference_numbers(reference: Path) -> None:
    """Reference's names mapped by name; every row, padding included. Fixture's tolerance 1e-5."""
    stored = load_file(DKT / "t5_tiny_io.safetensors")
    model = load_encoder(reference)
    with torch.inference_mode():
        hidden = model(input_ids=stored["ids"], attention_mask=stored["mask"]).last_hidden_state
    torch.testing.assert_close(hidden[:, :16], stored["hidden_all"], atol=1e-5, rtol=0)


def test_real_tokens_alone_and_zeros_after_them_equal_the_reference(reference: Path, tmp_path: Path) -> None:
    stored = load_file(DKT / "t5_tiny_io.safetensors")
    count = int(stored["mask"].sum())
    with torch.inference_mode():
        rows = load_encoder(reference)(input_ids=stored["ids"][:, :count]).last_hidden_state[0]
    save_prompt(tmp_path / "prompt.safetensors", "depth", rows)
    prompt = load_prompt(tmp_path / "prompt.safetensors", 32)
    assert prompt.shape == (512, 32) and prompt.dtype == torch.float32 and not prompt[count:].any()
    torch.testing.assert_close(prompt, stored["prompt_embeds"][0], atol=1e-5, rtol=0)


def test_both_forms_of_the_encoder_agree(reference: Path, published: Path) -> None:
    one, other = (embed("depth", folder, torch.float32) for folder in (reference, published))
    assert one.shape == (2, 32) and one.abs().max() > 0.1  # the word and the end token
    torch.testing.assert_close(one, other, atol=0, rtol=0)
    assert not torch.equal(one, embed("normal", reference, torch.float32))


def test_the_table_of_words_may_be_stored_under_its_other_name(reference: Path, published: Path) -> None:
    folder = published / "text_encoder"
    tensors = {}
    for shard in folder.glob("*.safetensors"):
        tensors |= load_file(shard)
        shard.unlink()
    (folder / "model.safetensors.index.json").unlink()
    tensors["encoder.embed_tokens.weight"] = tensors.pop("shared.weight")
    save_file(tensors, folder / "model.safetensors")
    both = [embed("depth", each, torch.float32) for each in (reference, published)]
    torch.testing.assert_close(*both, atol=0, rtol=0)


def test_bfloat16_is_near(reference: Path) -> None:
    half, full = embed("depth", reference), embed("depth", reference, torch.float32)
    assert half.dtype == torch.bfloat16
    torch.testing.assert_close(half.float(), full, atol=0.05, rtol=0.02)


def test_every_name_of_the_reference_is_mapped() -> None:
    mapped = [transformers_name(name) for name in load_file(DKT / "t5_tiny_reference.safetensors")]
    assert len(set(mapped)) == len(mapped) == 22
    assert all(name.startswith(("shared.", "encoder.")) for name in mapped)
    assert transformers_name("blocks.7.ffn.gate.0.weight") == "encoder.block.7.layer.1.DenseReluDense.wi_0.weight"


@pytest.mark.parametrize(
    ("text", "cleaned"),
    [
        ("depth", "depth"),
        ("  a\n glass\t\u00a0cup ", "a glass cup"),
        ("salt &amp;amp; pepper", "salt & pepper"),
        ("&lt;b&gt;", "<b>"),
    ],
)
def test_text_is_cleaned_as_in_the_reference(text: str, cleaned: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ftfy", None)  # as if not installed
    assert clean(text) == (cleaned, False)


def test_what_is_no_prompt_is_refused(tmp_path: Path) -> None:
    rows = torch.ones(3, 32)
    save_prompt(tmp_path / "good.safetensors", "depth", rows)
    for name, tensors, metadata in (
        ("codec", load_file(DKT / "vae_tiny_reference.safetensors"), {}),
        ("foreign", {"rows": rows}, {"format": "pt"}),
        ("long", {"rows": torch.ones(513, 32)}, {"format": "dkt_ros prompt 1", "text": "depth"}),
        ("nan", {"rows": rows / 0 - rows / 0}, {"format": "dkt_ros prompt 1", "text": "depth"}),
    ):
        save_file(tensors, tmp_path / f"{name}.safetensors", metadata=metadata)
        with pytest.raises(CheckpointError, match="dkt models embed-prompt"):
            load_prompt(tmp_path / f"{name}.safetensors", 32)
    with pytest.raises(CheckpointError, match="rows of 32 values, the transformer reads 4096"):
        load_prompt(tmp_path / "good.safetensors", 4096)
    for bad in (torch.ones(32), torch.ones(0, 32), rows / 0):
        with pytest.raises(ValueError, match="a prompt embedding"):
            save_prompt(tmp_path / "good.safetensors", "depth", bad)
    torch.testing.assert_close(load_prompt(tmp_path / "good.safetensors", 32)[:3], rows)  # the earlier one stays


def test_a_missing_piece_is_named_with_its_remedy(reference: Path, tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(FileNotFoundError, match=r"no text encoder.*dkt models fetch text-encoder --out"):
        load_encoder(empty)
    with pytest.raises(FileNotFoundError, match=r"no tokenizer.*dkt models fetch text-encoder --out"):
        load_tokenizer(empty)
    torch.save({"a": torch.zeros(1)}, empty / "models_t5.pth")
    with pytest.raises(CheckpointError, match=r"models_t5\.pth: a pickle.*python3 -c"):
        load_encoder(empty)
    (reference / "second.safetensors").write_bytes((DKT / "t5_tiny_reference.safetensors").read_bytes())
    with pytest.raises(CheckpointError, match=r"several files could be the text encoder: enc.*second"):
        load_encoder(reference)


def test_an_encoder_with_missing_layers_is_refused(reference: Path, published: Path) -> None:
    tensors = load_file(reference / "enc.safetensors")
    del tensors["blocks.1.ffn.fc2.weight"]
    save_file(tensors, reference / "enc.safetensors")
    with pytest.raises(CheckpointError, match=r"1 missing, foreign .*encoder\.block\.1\.layer\.1"):
        load_encoder(reference)
    config = json.loads((published / "text_encoder" / "config.json").read_text())
    (published / "text_encoder" / "config.json").write_text(json.dumps(config | {"d_ff": 96}))
    with pytest.raises(CheckpointError, match="missing, foreign or of another shape"):
        load_encoder(published)


def test_a_tokenizer_of_another_model_is_refused(reference: Path) -> None:
    words = {**WORDS, "depth": 640}
    file = reference / "google" / "umt5-xxl" / "tokenizer.json"
    stored = json.loads(file.read_text())
    stored["model"]["vocab"] = words
    file.write_text(json.dumps(stored))
    with pytest.raises(CheckpointError, match="token 640, the encoder knows 64"):
        embed("depth", reference)


def test_without_transformers_the_extra_is_named(reference: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(ImportError, match=r"dkt_ros\[models\]"):
        embed("depth", reference)
