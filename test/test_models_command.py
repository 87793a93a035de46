"""``dkt models``: what it says of folders, good and bad, and the embedding of a prompt. Fetching: test_fetching.py."""

from __future__ import annotations

import hashlib
import json
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from dkt_ros import cli
from dkt_ros.engines.catalogue import MODELS
from dkt_ros.engines.prompts import load_prompt, save_prompt

from .engines.published import (
    DKT,
    dkt_folder,
    dvd_folder,
    dvd_shapes,
    dvd_tensors,
    lora_shapes,
    reference_shapes,
    write_hollow,
)
from .engines.test_prompts import tokenizer_folder

HEAVY = ("torch", "diffusers", "transformers", "huggingface_hub", "tokenizers", "cv2")


def run_apart(*arguments: str) -> tuple[str, list[str]]:
    """What the command prints in a process of its own, and which heavy packages it imports."""
    program = (
        "import sys\nfrom dkt_ros.cli import main\ntry:\n    main(sys.argv[1:])\nexcept SystemExit: pass\n"
        f"print('HEAVY:', *[m for m in {HEAVY!r} if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program, *arguments], capture_output=True, text=True, check=True)
    said, _, heavy = done.stdout.rpartition("HEAVY:")
    return said, heavy.split()


@pytest.mark.parametrize("action", [[], ["list"], ["verify"], ["fetch"], ["embed-prompt"]])
def test_help_teaches_by_example_and_imports_nothing_heavy(action: list[str]) -> None:
    said, heavy = run_apart("models", *action, *(["--help"] if action else []))
    examples = said.partition("Examples:")[2].partition("\n\n")[0]
    assert examples.count("  dkt models ") >= 2 and heavy == []


def test_list_names_every_model_with_size_licence_source_and_command(capsys) -> None:
    assert cli.main(["models", "list"]) == 0
    said = capsys.readouterr().out
    for model in MODELS:
        block = said.partition(f"\n{model.name} ")[2] if model.name != "nano" else said
        block = re.split(r"\n(?! )", block)[0]
        assert model.size in block and all(licence in block for licence in model.licences)
        assert all(source.repository in block and source.revision[:12] in block for source in model.sources)
        assert "dkt run" in block or not model.engine
    dvd = said.partition("\ndvd-1.1 ")[2]
    assert "CC BY-NC 4.0: no commercial use" in dvd and "commit 769534dec2d7" in dvd


@pytest.fixture
def dkt(tmp_path: Path) -> Path:
    return dkt_folder(tmp_path / "dkt")


@pytest.fixture(scope="module")
def full_size(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """DKT 1.3B as `fetch` lays it out, and DVD beside it, of the published shapes; takes no room on the disk."""
    folder = tmp_path_factory.mktemp("models") / "dkt"
    write_hollow(folder / "base" / "diffusion_pytorch_model.safetensors", reference_shapes("1.3B"))
    write_hollow(folder / "vae" / "diffusion_pytorch_model.safetensors", reference_shapes("codec"))
    write_hollow(folder / "lora" / "TransPhy3D_depth_lora.safetensors", lora_shapes(30, 1536, 8960, 128))
    save_prompt(folder / "prompt.safetensors", "depth", torch.ones(2, 4096, dtype=torch.bfloat16))
    write_hollow(folder.parent / "dvd" / "model.safetensors", dvd_shapes())
    return folder


def verify(path: Path, capsys, *more: str) -> tuple[int, str, str]:
    status = cli.main(["models", "verify", str(path), *more])
    said = capsys.readouterr()
    return status, said.out, said.err


def test_the_published_sizes_are_told_by_names_and_shapes(full_size: Path, capsys) -> None:
    start = time.process_time()
    status, said, problems = verify(full_size, capsys)
    assert (status, problems) == (0, "") and time.process_time() - start < 5  # nothing but headers is read
    assert "(3.13 GB): Wan2.1-Fun-Control 1.3B, first release" in said
    assert said.count("those of the published file") == 2 and "not those" not in said
    assert "the embedding of the prompt 'depth'" in said and "a LoRA of rank 128 for the 1.3B" in said
    assert f"engine dkt: runs on it: dkt run INPUT --engine dkt --weights {full_size} --out OUT" in said
    status, said, _ = verify(full_size.parent / "dvd", capsys)
    assert status == 0 and "(4.49 GB): DVD v1.0 or v1.1" in said and "engine dvd: runs on it" in said


def test_verify_needs_no_torch(full_size: Path) -> None:
    said, heavy = run_apart("models", "verify", str(full_size))
    assert "engine dkt: runs on it" in said and heavy == []


def test_run_says_at_once_and_in_the_words_of_verify_that_nothing_is_there(tmp_path: Path, capsys) -> None:
    program = (
        "import sys\nfrom dkt_ros.engines import EngineOptions, load_engine\n"
        "for name in ('dkt', 'dvd', 'depthlab', 'completion'):\n"
        "    try: load_engine(name, EngineOptions(weights=__import__('pathlib').Path(sys.argv[1])))\n"
        "    except FileNotFoundError as error: print(error)\n"
        f"print('HEAVY:', *[m for m in {HEAVY!r} if m in sys.modules and m != 'cv2'])"
    )
    absent = tmp_path / "absent"
    done = subprocess.run([sys.executable, "-c", program, str(absent)], capture_output=True, text=True, check=True)
    words = f"{absent}: no such weight file or folder\n"
    assert done.stdout == words * 4 + "HEAVY:\n"
    assert words in verify(absent, capsys)[2]


def test_list_finds_models_in_a_folder(full_size: Path, capsys) -> None:
    assert cli.main(["models", "list", str(full_size.parent)]) == 0
    said = capsys.readouterr().out

    def block(name: str) -> str:
        return re.split(r"\n(?! )", said.partition(f"\n{name} ")[2])[0]

    assert f"here: {full_size}" in block("dkt-depth-1.3b") and f"here: {full_size}" in block("wan-vae")
    assert f"here: {full_size.parent / 'dvd'}" in block("dvd-1.1")  # names and shapes do not tell 1.1 from 1.0
    assert "not here" in block("dkt-normal-14b") and "not here" in block("depthlab")  # a prompt and a codec are no 14B
    assert "not a published size" not in said
    assert cli.main(["models", "list", str(full_size / "absent")]) == 1


def listed(folder: Path, capsys) -> str:
    assert cli.main(["models", "list", str(folder)]) == 0
    said: str = capsys.readouterr().out
    return said


def test_list_agrees_with_verify_on_what_is_not_published(dkt: Path, capsys) -> None:
    dvd_folder(dkt.parent / "dvd")
    said = listed(dkt.parent, capsys)
    assert "incomplete" not in said and "here: " not in said
    for engine, folder in (("dkt", dkt), ("dvd", dkt.parent / "dvd")):
        assert said.count(f"engine {engine} runs on ") == 1
        assert f"engine {engine} runs on {folder}, which is none of these (not a published size)" in said
        assert f"engine {engine}: runs on it" in verify(folder, capsys)[1]
    (dkt / "dit_tiny_lora.safetensors").unlink()
    assert "engine dkt runs on" not in listed(dkt.parent, capsys)
    assert "dkt models fetch dkt-depth" not in verify(dkt, capsys)[1]  # it would not complete this one


def test_list_says_what_is_begun_and_what_does_not_run(tmp_path: Path, capsys) -> None:
    for name in ("a", "b"):
        write_hollow(tmp_path / "dvd" / f"{name}.safetensors", dvd_shapes())
    write_hollow(tmp_path / "dkt" / "lora.safetensors", lora_shapes(40, 5120, 13824, 128))
    said = listed(tmp_path, capsys)
    assert f"here, but does not run: 'dkt models verify {tmp_path / 'dvd'}' says why" in said
    assert said.count(f"here, incomplete: {tmp_path / 'dkt'} lacks wan2.1-fun-control-14b, wan2.1-codec") == 2


def test_what_is_missing_is_named_with_the_command_that_gets_it(full_size: Path, tmp_path: Path, capsys) -> None:
    folder = tmp_path / "half"
    (folder / "base").mkdir(parents=True)
    base = folder / "base" / "diffusion_pytorch_model.safetensors"
    base.symlink_to(full_size / "base" / base.name)
    status, said, problems = verify(folder, capsys)
    assert status == 1 and "engine dkt: does not run on it" in said and "lacks the codec" in problems
    assert "for dkt-depth-1.3b it lacks wan2.1-codec, dkt-lora-1.3b, prompt-depth:" in said
    assert f"dkt models fetch dkt-depth-1.3b --out {folder}" in said
    assert f"dkt models embed-prompt --text depth --encoder TEXT_ENCODER --out {folder}/prompt.safetensors" in said
    base.rename(folder / "base.safetensors")  # here `fetch` would not see it, and bring a second one
    said = verify(folder, capsys)[1]
    assert "dkt models fetch dkt-depth-1.3b --out NEW_FOLDER " in said and "--out NEW_FOLDER/prompt" in said


def test_pickles_beside_what_runs_need_no_conversion(dkt: Path, capsys) -> None:
    torch.save({"a": torch.zeros(2)}, dkt / "Wan2.1_VAE.pth")
    status, said, problems = verify(dkt, capsys)
    assert status == 0 and not problems and "a pickle; what runs here does without it" in said
    assert "python3 -c" not in said


def test_what_is_nearly_published_is_not_called_small(full_size: Path, tmp_path: Path, capsys) -> None:
    write_hollow(tmp_path / "a.safetensors", {**reference_shapes("codec"), "mean": (16,)})
    status, said, problems = verify(tmp_path, capsys)
    assert status == 1 and "of a small size" not in said and "195, not 194" in problems
    write_hollow(tmp_path / "a.safetensors", {**dvd_shapes(), "pipe.vae.mean": (16,)})
    status, said, problems = verify(tmp_path, capsys)
    assert status == 1 and "of a small size" not in said and "foreign tensors ['pipe.vae.mean']" in problems


def test_tiny_models_of_both_engines_run(dkt: Path, tmp_path: Path, capsys) -> None:
    assert verify(dkt, capsys)[0] == 0
    status, said, _ = verify(dvd_folder(tmp_path / "dvd"), capsys)
    assert status == 0 and "DVD of a small size" in said and "engine dvd: runs on it" in said
    status, said, _ = verify(tmp_path / "dvd" / "model.safetensors", capsys)
    assert status == 0 and "engine dvd: runs on it" in said


def test_a_part_by_itself_is_told_and_is_no_error(dkt: Path, capsys) -> None:
    status, said, _ = verify(dkt / "vae_tiny_reference.safetensors", capsys)
    assert status == 0 and "the Wan 2.1 video codec" in said and "no engine runs on it alone" in said


def test_a_part_says_which_models_it_belongs_to_and_how_it_is_given(full_size: Path, dkt: Path, capsys) -> None:
    for file, words in (
        (full_size / "lora" / "TransPhy3D_depth_lora.safetensors", "it belongs to engine dkt (dkt-depth-1.3b): put"),
        (full_size / "prompt.safetensors", "engine dkt (dkt-depth-1.3b, dkt-depth-14b, dkt-normal-14b): put it into"),
        (dkt / "dit_tiny_lora.safetensors", "engine dkt: put it into a folder DIR with the other parts"),
        (dkt / "vae_tiny_reference.safetensors", "engine dkt or dvd: put it into a folder"),
        (DKT / "t5_tiny_reference.safetensors", "'dkt models embed-prompt' uses it, with its folder as --encoder"),
    ):
        status, said, _ = verify(file, capsys)
        assert status == 0 and words in said, said
        assert "dkt models list" not in said


def test_a_pickle_beside_its_conversion_is_no_problem(dkt: Path, capsys) -> None:
    """In a folder that runs on nothing, so that nothing else excuses it."""
    codec = dkt.parent / "codec"
    codec.mkdir()
    (dkt / "vae_tiny_reference.safetensors").rename(codec / "Wan2.1_VAE.safetensors")
    torch.save({"a": torch.zeros(2)}, codec / "Wan2.1_VAE.pth")
    status, said, problems = verify(codec, capsys)
    assert (status, problems) == (0, "") and "python3" not in said
    assert "a pickle, not read: Wan2.1_VAE.safetensors is there already" in said and "can be deleted" in said
    status, _, problems = verify(codec / "Wan2.1_VAE.pth", capsys)
    assert status == 1 and "Wan2.1_VAE.safetensors is there already" in problems and "python3" not in problems


def break_lora(folder: Path) -> None:
    """A LoRA for another width."""
    file = folder / "dit_tiny_lora.safetensors"
    tensors = load_file(file)
    save_file({name: torch.cat([each, each], int("lora_A" in name)) for name, each in tensors.items()}, file)


def add_second_lora(folder: Path) -> None:
    (folder / "second.safetensors").write_bytes((folder / "dit_tiny_lora.safetensors").read_bytes())


def make_v1_1(folder: Path) -> None:
    file = folder / "dit_tiny_reference.safetensors"
    save_file({**load_file(file), "ref_conv.weight": torch.zeros(64, 16, 2, 2), "ref_conv.bias": torch.zeros(64)}, file)


def cut_off(folder: Path) -> None:
    file = folder / "vae_tiny_reference.safetensors"
    file.write_bytes(file.read_bytes()[:-100])


def embed_another_prompt(folder: Path) -> None:
    save_prompt(folder / "prompt.safetensors", "normal", torch.ones(2, 32))


def embed_with_another_encoder(folder: Path) -> None:
    save_prompt(folder / "prompt.safetensors", "depth", torch.ones(2, 4096))


def leave_pickle(folder: Path) -> None:
    torch.save({"a": torch.zeros(2)}, folder / "Wan2.1_VAE.pth")
    (folder / "vae_tiny_reference.safetensors").unlink()


def rename_pickle(folder: Path) -> None:
    leave_pickle(folder)
    (folder / "Wan2.1_VAE.pth").rename(folder / "vae_tiny_reference.safetensors")


def add_normals(folder: Path, width: int = 32) -> Path:
    dkt_folder(folder / "normal")
    for name in ("dit_tiny_reference", "vae_tiny_reference", "prompt"):
        (folder / "normal" / f"{name}.safetensors").unlink()
    save_prompt(folder / "normal" / "prompt.safetensors", "normal", torch.ones(2, width))
    return folder / "normal"


def add_normals_of_another_size(folder: Path) -> None:
    break_lora(add_normals(folder))


def add_normals_with_another_encoder(folder: Path) -> None:
    add_normals(folder, 48)


def add_depth_for_normals(folder: Path) -> None:
    below = add_normals(folder)
    (below / "dit_tiny_lora.safetensors").rename(below / "DKT_14B_depth_lora.safetensors")


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (break_lora, "mixed sizes"),
        (add_second_lora, "2 candidates for the lora: dit_tiny_lora.safetensors, second.safetensors"),
        (make_v1_1, "V1.1"),
        (cut_off, "vae_tiny_reference.safetensors: truncated"),
        (embed_another_prompt, "the embedding of 'normal', and 'depth' is needed here; make it with 'dkt models embed"),
        (embed_with_another_encoder, "rows of 4096 values"),
        (leave_pickle, "Wan2.1_VAE.pth: a pickle can run code when it is read and is refused; convert it: python3 -c"),
        (rename_pickle, "vae_tiny_reference.safetensors: a pickle"),
        (add_normals_of_another_size, "mixed sizes"),
        (add_normals_with_another_encoder, "rows of 48 values"),
        (add_depth_for_normals, "by its name a LoRA for depth, in the folder for normals"),
    ],
)
def test_a_folder_that_cannot_run_is_refused_with_reason_and_remedy(damage, words: str, dkt: Path, capsys) -> None:
    damage(dkt)
    status, _, problems = verify(dkt, capsys)
    assert status == 1 and problems.startswith("dkt models: ") and words in problems, problems
    assert "Traceback" not in problems


@pytest.mark.parametrize("wrapper", [None, "model_state"])
def test_the_command_for_a_pickle_converts_it(wrapper: str | None, dkt: Path, capsys) -> None:
    """Word for word as printed, on a published codec's form: a flat state dict, or one within "model_state"."""
    file = dkt / "vae_tiny_reference.safetensors"
    tensors = load_file(file)
    torch.save({wrapper: tensors, "step": 3} if wrapper else tensors, dkt / "Wan2.1_VAE.pth")
    file.unlink()
    _, _, problems = verify(dkt, capsys)
    command = re.search(r"convert it: (python3 -c .*)", problems)
    assert command
    subprocess.run(command[1].replace("python3", sys.executable, 1), shell=True, check=True)
    status, said, problems = verify(dkt, capsys)  # the pickle may stay, it is never read
    assert (status, problems) == (0, "") and "Wan2.1_VAE.pth" in said
    converted = load_file(dkt / "Wan2.1_VAE.safetensors")
    assert converted.keys() == tensors.keys()
    assert all(torch.equal(converted[name], tensors[name]) for name in tensors)


def test_nothing_there_is_said(tmp_path: Path, capsys) -> None:
    (tmp_path / "empty").mkdir()
    assert "holds no weight files" in verify(tmp_path / "empty", capsys)[2]
    assert f"dkt models fetch NAME --out {tmp_path / 'empty'}" in verify(tmp_path / "empty", capsys)[2]
    assert f"{tmp_path / 'absent'}: no such weight file or folder" in verify(tmp_path / "absent", capsys)[2]
    (tmp_path / "README.md").write_text("# A page\n")
    assert "README.md: not a weight file" in verify(tmp_path / "README.md", capsys)[2]
    save_file({"a": torch.zeros(1)}, tmp_path / "other.safetensors")
    assert "no model that is known here" in verify(tmp_path / "other.safetensors", capsys)[2]


def test_sha256_is_compared_with_what_was_fetched(tmp_path: Path, capsys) -> None:
    folder = dvd_folder(tmp_path / "dvd")
    digest = hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()
    record = {"repositories": {}, "files": {"model.safetensors": {"sha256": digest}}}
    (folder / "fetched.json").write_text(json.dumps(record))
    status, said, _ = verify(folder, capsys, "--sha256")
    assert status == 0 and f"sha256 {digest}" in said
    save_file({name: each + 1 for name, each in dvd_tensors().items()}, folder / "model.safetensors", {"format": "pt"})
    status, _, problems = verify(folder, capsys, "--sha256")
    assert status == 1 and f"changed since it was fetched (it was {digest})" in problems
    assert verify(folder, capsys)[0] == 0  # without the sums nothing shows it


def test_what_is_called_v1_1_must_have_its_sum(tmp_path: Path, capsys) -> None:
    folder = dvd_folder(tmp_path / "dvd", name="dvd_1.1.safetensors")
    status, _, problems = verify(folder, capsys, "--sha256")
    assert status == 1 and "by its name DVD v1.1, by its sum not" in problems


@pytest.fixture
def encoder(tmp_path: Path) -> Path:
    folder = tmp_path / "text"
    tokenizer_folder(folder / "tokenizer")
    (folder / "enc.safetensors").write_bytes((DKT / "t5_tiny_reference.safetensors").read_bytes())
    return folder


def embed(encoder: Path, out: Path, text: str, *more: str) -> int:
    return cli.main(["models", "embed-prompt", "--text", text, "--encoder", str(encoder), "--out", str(out), *more])


def test_a_prompt_is_embedded_into_a_file_that_the_engine_takes(encoder: Path, dkt: Path, capsys) -> None:
    out = dkt / "prompt.safetensors"
    out.unlink()
    assert embed(encoder, out, "  depth\n", "--precision", "float32") == 0
    said = capsys.readouterr()
    assert f"'depth': 2 tokens of 32 values: {out}" in said.out
    assert load_prompt(out, 32)[2:].any() == torch.tensor(False)
    assert out.stat().st_size < 1000 and verify(dkt, capsys)[0] == 0
    assert not list(dkt.glob(".*"))


def test_words_that_dkt_does_not_know_are_embedded_with_a_warning(encoder: Path, tmp_path: Path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "ftfy", None)  # nothing need be said of it for plain words
    for text in ("depth", "normal"):
        assert embed(encoder, tmp_path / "a.safetensors", text, "--precision", "float32") == 0
        said = capsys.readouterr().err
        assert "ftfy" not in said and "knows" not in said
    out = tmp_path / "glass.safetensors"
    assert embed(encoder, out, "glass", "--precision", "float32") == 0 and out.exists()
    said = capsys.readouterr().err
    assert "DKT knows 'depth' and 'normal' only; no engine here will take 'glass'" in said and "ftfy" not in said
    assert embed(encoder, out, "gl\u00e4ss", "--precision", "float32") == 0
    assert "no ftfy here" in capsys.readouterr().err


def test_embedding_says_what_is_missing(encoder: Path, tmp_path: Path, monkeypatch, capsys) -> None:
    out = tmp_path / "out" / "prompt.safetensors"
    for folder, text, words in (
        (encoder, " ", "--text is empty"),
        (tmp_path / "absent", "depth", "no such folder; dkt models fetch text-encoder"),
        (encoder / "tokenizer", "depth", "no text encoder"),
    ):
        assert embed(folder, out, text) == 1
        assert words in capsys.readouterr().err
    assert embed(encoder, out.with_suffix(".pt"), "depth") == 1
    assert "prompt.pt: must end in .safetensors" in capsys.readouterr().err
    monkeypatch.setitem(sys.modules, "transformers", None)
    assert embed(encoder, out, "depth") == 1
    assert "pip install 'dkt_ros[models]'" in capsys.readouterr().err
    assert not out.exists()


def test_what_fetch_does_not_fetch() -> None:
    said, _ = run_apart("models", "fetch", "nano", "--out", "nowhere")
    assert "nano is bundled, there is nothing to fetch: dkt run INPUT" in said
