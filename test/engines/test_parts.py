"""A folder of weights: each part is found by what it is, and what is missing, doubled or mixed is refused in words."""

import re
import shutil
import subprocess
import sys

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("diffusers")

from safetensors.torch import load_file, save_file  # noqa: E402

from dkt_ros.engines.dkt_parts import find_dkt  # noqa: E402
from dkt_ros.engines.headers import CheckpointError, conversion_command, converted  # noqa: E402
from dkt_ros.engines.layouts import identify  # noqa: E402
from dkt_ros.engines.parts import find_parts, pickles, weight_files  # noqa: E402
from dkt_ros.engines.weights import load_codec  # noqa: E402
from test.engines.published import (  # noqa: E402
    DKT,
    DVD_CONFIG,
    dkt_folder,
    dvd_folder,
    lora_shapes,
    reference_shapes,
    write_hollow,
)

ROLES = ("transformer", "codec", "lora", "prompt")


@pytest.fixture
def folder(tmp_path):
    return dkt_folder(tmp_path / "dkt")


def test_parts_are_found_by_what_they_are_wherever_they_lie(folder):
    names = {"transformer": "base/a.safetensors", "codec": "vae/b.safetensors", "lora": "lora/c.safetensors"}
    old = {"transformer": "dit_tiny_reference", "codec": "vae_tiny_reference", "lora": "dit_tiny_lora"}
    for role, name in names.items():
        (folder / name).parent.mkdir()
        (folder / f"{old[role]}.safetensors").rename(folder / name)
    found = find_parts(folder, *ROLES)
    expected = {**names, "prompt": "prompt.safetensors"}
    assert found == {role: [folder / name] for role, name in expected.items()}


def test_a_file_is_a_folder_of_one(folder, tmp_path):
    file = dvd_folder(tmp_path / "dvd") / "model.safetensors"
    assert find_parts(file, "dvd", optional=["codec"]) == {"dvd": [file], "codec": []}
    with pytest.raises(CheckpointError, match=r"lacks the codec.*Wan2.1_VAE.*Found: dit_tiny_reference"):
        find_parts(folder / "dit_tiny_reference.safetensors", "transformer", "codec")


def test_of_several_places_the_last_that_has_a_part_gives_it(folder, tmp_path):
    ours = tmp_path / "out" / "weights.safetensors"
    ours.parent.mkdir()
    shutil.copy(folder / "dit_tiny_lora.safetensors", ours)
    found = find_parts((folder, ours), *ROLES)
    assert found["lora"] == [ours] and found["transformer"] == [folder / "dit_tiny_reference.safetensors"]
    assert find_parts((ours, folder), "lora")["lora"] == [folder / "dit_tiny_lora.safetensors"]
    with pytest.raises(CheckpointError, match=r"dkt and .*weights.safetensors: it lacks the dvd"):
        find_parts((folder, ours), "dvd")


def test_adapters_of_our_own_training_are_parts_of_their_own(folder, tmp_path):
    lora = load_file(folder / "dit_tiny_lora.safetensors")
    dim = lora["blocks.0.self_attn.q.lora_A.default.weight"].shape[1]
    first = {"patch_embedding.bias": torch.zeros(dim)}
    for name, channels, config, role in (
        ("normal", 0, '{"task": "dkt", "predicts": "normal"}', "normal lora"),
        ("dvd", 0, '{"task": "dvd", "predicts": "depth"}', "dvd lora"),
        ("dkt_c", 52, "{}", "dkt completion"),
        ("dvd_c", 36, "{}", "dvd completion"),
        ("odd", 40, "{}", "lora"),
    ):
        wide = {"patch_embedding.weight": torch.zeros(dim, channels, 1, 2, 2), **first} if channels else {}
        save_file({**lora, **wide}, tmp_path / f"{name}.safetensors", metadata={"config": config})
        layout = identify(tmp_path / f"{name}.safetensors")
        assert layout.role == role, name
        assert bool(layout.refusal) == (name == "odd"), name
    parts, pairs = find_dkt((folder, tmp_path / "dkt_c.safetensors"))
    assert pairs[0][0] == parts["dkt completion"] == tmp_path / "dkt_c.safetensors" and "lora" not in parts
    with pytest.raises(CheckpointError, match=r"normal.safetensors: a LoRA for normals.*embed-prompt --text normal"):
        find_dkt((folder, tmp_path / "normal.safetensors"))
    narrow = {**lora, **first, "patch_embedding.weight": torch.zeros(dim, 52, 1, 1, 1)}
    save_file(narrow, tmp_path / "narrow.safetensors")
    with pytest.raises(CheckpointError, match=r"its first layer is .*the base that it was trained on"):
        find_dkt((folder, tmp_path / "narrow.safetensors"))


def test_hidden_files_and_what_is_for_normals_are_left_out(folder):
    for place in ("normal", ".cache"):
        (folder / place).mkdir()
        shutil.copy(DKT / "dit_tiny_lora.safetensors", folder / place)
    shutil.copy(DKT / "dit_tiny_lora.safetensors", folder / ".download.partial.safetensors")
    assert find_parts(folder, "lora")["lora"] == [folder / "dit_tiny_lora.safetensors"]
    assert find_parts(folder / "normal", "lora")["lora"] == [folder / "normal" / "dit_tiny_lora.safetensors"]


def test_several_candidates_are_named(folder, tmp_path):
    shutil.copy(folder / "dit_tiny_lora.safetensors", folder / "again.safetensors")
    with pytest.raises(CheckpointError, match=r"2 candidates for the lora: again.*, dit_tiny_lora.*leave one.*normal/"):
        find_parts(folder, *ROLES)
    dvd_folder(tmp_path / "dvd", name="dvd_1.1.safetensors")
    dvd_folder(tmp_path / "dvd")
    with pytest.raises(CheckpointError, match=r"2 candidates for the dvd.*or give the file itself"):
        find_parts(tmp_path / "dvd", "dvd")


def test_a_base_that_is_refused_is_no_candidate_beside_a_good_one(folder):
    tensors = load_file(folder / "dit_tiny_reference.safetensors")
    save_file({**tensors, "ref_conv.weight": torch.zeros(64, 16, 2, 2)}, folder / "v1.1.safetensors")
    assert find_parts(folder, *ROLES)["transformer"] == [folder / "dit_tiny_reference.safetensors"]
    (folder / "dit_tiny_reference.safetensors").unlink()
    with pytest.raises(CheckpointError, match=r"v1.1.safetensors: .*ref_conv.*first release"):
        find_parts(folder, *ROLES)


@pytest.mark.parametrize("role", ROLES)
def test_a_missing_part_is_named_with_its_source(folder, role):
    for file in list(folder.iterdir()):
        if find_parts(file, optional=[role])[role]:
            file.unlink()
    with pytest.raises(
        CheckpointError, match=f"lacks the {role}: .*dkt models (fetch .*--out DIR|embed-prompt .*--out DIR/).*Found: "
    ):
        find_parts(folder, *ROLES)


def test_an_empty_folder_and_none(tmp_path):
    with pytest.raises(CheckpointError, match=r"holds no weight files.*dkt models fetch"):
        find_parts(tmp_path, "dvd")
    with pytest.raises(FileNotFoundError, match="nowhere"):
        find_parts(tmp_path / "nowhere", "dvd")


def test_mixed_sizes_are_refused_without_reading_a_tensor(tmp_path):
    write_hollow(tmp_path / "base.safetensors", reference_shapes("1.3B"))
    write_hollow(tmp_path / "lora.safetensors", lora_shapes(40, 5120, 13824, 128))
    with pytest.raises(CheckpointError, match=r"a LoRA for a 14B.*base.safetensors is a 1.3B.*mixed sizes"):
        find_parts(tmp_path, "transformer", "lora")
    with pytest.raises(CheckpointError, match="mixed sizes"):  # worth knowing before one looks for the codec
        find_parts(tmp_path, "transformer", "codec", "lora")
    write_hollow(tmp_path / "lora.safetensors", lora_shapes(30, 1536, 8960, 128))
    assert find_parts(tmp_path, "transformer", "lora")["lora"] == [tmp_path / "lora.safetensors"]


def test_the_configuration_beside_a_file_is_checked(tmp_path):
    dvd_folder(tmp_path, DVD_CONFIG.replace("regression", "generation"))
    with pytest.raises(CheckpointError, match="mode is 'generation'"):
        find_parts(tmp_path, "dvd")
    (tmp_path / "model_config.yaml").unlink()
    assert find_parts(tmp_path, "dvd")["dvd"] == [tmp_path / "model.safetensors"]
    (tmp_path / "config.json").unlink()
    with pytest.raises(CheckpointError, match="48 wide, no multiple of 128"):
        find_parts(tmp_path, "dvd")


def test_a_prompt_of_another_width_is_refused(folder):
    metadata = {"text": "depth", "format": "dkt_ros prompt 1"}
    save_file({"rows": torch.zeros(4, 48)}, folder / "prompt.safetensors", metadata)
    with pytest.raises(CheckpointError, match=r"rows of 48 values.*takes text of 32"):
        find_parts(folder, *ROLES)


def test_shards_are_one_candidate(folder):
    base = folder / "dit_tiny_reference.safetensors"
    tensors = load_file(base)
    for i, names in enumerate((sorted(tensors)[:40], sorted(tensors)[40:])):
        save_file({name: tensors[name] for name in names}, folder / f"base-{i + 1:05d}-of-00002.safetensors")
    (folder / "config.json").write_text('{"num_heads": 2}')
    base.unlink()
    assert find_parts(folder, *ROLES)["transformer"] == [folder / "base-00001-of-00002.safetensors"]
    (folder / "base-00002-of-00002.safetensors").unlink()
    with pytest.raises(CheckpointError, match="1 of 2 shards are missing"):
        find_parts(folder, *ROLES)


def test_a_pickle_that_may_be_the_missing_part_is_named_with_a_command_that_converts_it(folder):
    stored = load_file(folder / "vae_tiny_reference.safetensors")
    (folder / "vae_tiny_reference.safetensors").unlink()
    torch.save({"a": torch.zeros(1)}, folder / "a text encoder.pth")
    torch.save({"model_state": {**stored, "steps": 3}}, folder / "Wan 2.1_VAE.pth")
    assert [file.name for file in pickles(folder)] == ["Wan 2.1_VAE.pth", "a text encoder.pth"]
    with pytest.raises(CheckpointError) as caught:
        find_parts(folder, *ROLES)
    command = re.search(r"convert it: (python3 .*?)\. Found", str(caught.value))[1]
    assert command == conversion_command(folder / "Wan 2.1_VAE.pth")
    subprocess.run(command.replace("python3", sys.executable, 1), shell=True, check=True)
    found = find_parts(folder, *ROLES)["codec"]
    assert found == [folder / "Wan 2.1_VAE.safetensors"]
    assert load_codec(found).config.base_dim == 4


def test_the_command_for_a_pickle_overwrites_nothing(tmp_path):
    file, good = tmp_path / "Wan2.1_VAE.pth", tmp_path / "Wan2.1_VAE.safetensors"
    torch.save({"a": torch.ones(1)}, file)
    early = conversion_command(file).replace("python3", sys.executable, 1)
    save_file({"b": torch.zeros(2)}, good)  # comes there before the command is given
    done = subprocess.run(early, shell=True, capture_output=True, text=True)
    assert done.returncode == 1 and f"{good}: is there already" in done.stderr
    for name in ("Wan2.1_VAE_converted", "Wan2.1_VAE_converted_2"):
        goal = tmp_path / f"{name}.safetensors"
        command = conversion_command(file)
        assert command.endswith(f" {goal}")
        subprocess.run(command.replace("python3", sys.executable, 1), shell=True, check=True)
        assert load_file(goal).keys() == {"a"}
    assert load_file(good).keys() == {"b"}


def test_a_pickle_beside_its_conversion_can_go(tmp_path):
    file, goal = tmp_path / "dit.pth", tmp_path / "dit.safetensors"
    torch.save({"a": torch.ones(1)}, file)
    goal.write_bytes(b"\x10")  # a conversion that was interrupted is none
    assert converted(file) is None
    save_file({"a": torch.ones(1)}, goal)
    assert converted(file) == goal
    with pytest.raises(CheckpointError) as caught:
        identify(file)
    assert "dit.safetensors is there already" in str(caught.value) and "python3" not in str(caught.value)
    with pytest.raises(CheckpointError, match="lacks the transformer") as caught:
        find_parts(tmp_path, "transformer")
    assert "convert it" not in str(caught.value)


def test_one_part_is_not_enough_for_an_engine_of_several(folder):
    with pytest.raises(CheckpointError, match=r"lacks the transformer.*Give the folder that holds all parts"):
        find_parts(folder / "dit_tiny_lora.safetensors", *ROLES)


def test_a_folder_of_pickles_alone_says_how_to_convert_them(tmp_path):
    torch.save({"conv_in.weight": torch.zeros(1)}, tmp_path / "denoising_unet.pth")
    with pytest.raises(
        CheckpointError, match=r"lacks the depthlab denoiser: .*denoising_unet.pth, convert it: .*weights_only"
    ):
        find_parts(tmp_path, "depthlab denoiser")
    assert weight_files(tmp_path) == []


def test_a_truncated_file_anywhere_is_refused(folder):
    (folder / "more.safetensors").write_bytes((folder / "dit_tiny_lora.safetensors").read_bytes()[:-10])
    with pytest.raises(CheckpointError, match=r"more.safetensors: truncated"):
        find_parts(folder, *ROLES)
