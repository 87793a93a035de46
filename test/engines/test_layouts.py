"""What a weight file is, told from its header: published models by fingerprint, others by their sizes."""

import json
import pickle
import re
import subprocess
import sys

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("diffusers")

from safetensors.torch import load_file, save_file  # noqa: E402

from dkt_ros.engines.headers import CheckpointError, key_shape_md5, read_header  # noqa: E402
from dkt_ros.engines.layouts import identify  # noqa: E402
from dkt_ros.engines.other_layouts import TEXT_ENCODER  # noqa: E402
from dkt_ros.engines.parts import find_parts  # noqa: E402
from dkt_ros.engines.text_encoder import transformers_name  # noqa: E402
from dkt_ros.engines.wan_layouts import CODEC, DVD_BASE, FUN_CONTROL, FUN_CONTROL_V1_1  # noqa: E402
from test.engines.published import (  # noqa: E402
    DKT,
    dkt_folder,
    dvd_folder,
    dvd_shapes,
    lora_shapes,
    reference_shapes,
    write_hollow,
)


def write_raw(path, text, values):
    """A safetensors file whose header is ``text``, whatever that says."""
    path.write_bytes(len(text).to_bytes(8, "little") + text + values)


def v1_1(size):
    """The V1.1 base: as the first release, and a convolution for a reference picture."""
    shapes = reference_shapes(size)
    dim = shapes["patch_embedding.bias"][0]
    return {**shapes, "ref_conv.weight": (dim, 16, 2, 2), "ref_conv.bias": (dim,)}


def text_encoder():
    """Names and shapes of the UMT5-XXL encoder under the reference's names."""
    shapes = {"token_embedding.weight": (256384, 4096), "norm.weight": (4096,)}
    for i in range(24):
        shapes |= {f"blocks.{i}.attn.{letter}.weight": (4096, 4096) for letter in "qkvo"}
        shapes |= {f"blocks.{i}.norm{j}.weight": (4096,) for j in (1, 2)}
        shapes |= {f"blocks.{i}.ffn.{name}.weight": (10240, 4096) for name in ("gate.0", "fc1")}
        shapes[f"blocks.{i}.ffn.fc2.weight"] = (4096, 10240)
        shapes[f"blocks.{i}.pos_embedding.embedding.weight"] = (32, 64)
    return shapes


@pytest.mark.parametrize(
    ("size", "tensors", "md5"),
    [
        ("1.3B", 983, "349723183fc063b2bfc10bb2835cf677"),
        ("14B", 1303, "efa44cddf936c70abd0ea28b6cbe946c"),
        ("codec", 194, "ccc42284ea13e1ad04693284c7a09be6"),
        ("T2V 1.3B", 825, DVD_BASE),
    ],
)
def test_the_published_fingerprints_come_out_of_the_full_size_architectures(size, tensors, md5):
    shapes = reference_shapes(size)
    assert len(shapes) == tensors
    assert key_shape_md5(shapes) == md5
    assert md5 in (*FUN_CONTROL, *CODEC, DVD_BASE)


@pytest.mark.parametrize(
    ("size", "md5"), [("1.3B", "70ddad9d3a133785da5ea371aae09504"), ("14B", "26bde73488a92e64cc20b0a7485b9e5b")]
)
def test_the_fingerprint_of_v1_1_is_known_and_another(size, md5):
    assert key_shape_md5(v1_1(size)) == md5
    assert FUN_CONTROL_V1_1[md5] == size


def test_the_fingerprint_of_the_text_encoder():
    shapes = text_encoder()
    assert len(shapes) == 242
    theirs = {transformers_name(name): shape for name, shape in shapes.items()}
    assert (key_shape_md5(shapes), key_shape_md5(theirs)) == TEXT_ENCODER
    assert TEXT_ENCODER[0] == "9c8818c2cbea55eca56c7b447df170da"


@pytest.mark.parametrize("size", ["1.3B", "14B"])
@pytest.mark.parametrize("prefix", ["", "model.diffusion_model."])
def test_the_published_base_is_named(tmp_path, size, prefix):
    shapes = {prefix + name: shape for name, shape in reference_shapes(size).items()}
    layout = identify(write_hollow(tmp_path / "a.safetensors", shapes))
    assert (layout.role, layout.published, layout.refusal) == ("transformer", True, "")
    assert f"Fun-Control {size}, first release" in layout.in_words
    assert layout.sizes["in_channels"] == 48


def test_models_under_diffusers_names_are_the_published_ones_too(tmp_path):
    from diffusers import AutoencoderKLWan, WanTransformer3DModel

    with torch.device("meta"):
        models = {
            "transformer": WanTransformer3DModel(
                num_attention_heads=12,
                ffn_dim=8960,
                num_layers=30,
                in_channels=48,
                image_dim=1280,
                added_kv_proj_dim=1536,
            ),
            "codec": AutoencoderKLWan(),
        }
    for role, model in models.items():
        shapes = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
        layout = identify(write_hollow(tmp_path / "a.safetensors", shapes))
        assert (layout.role, layout.published, layout.refusal) == (role, True, "")


def test_the_published_codec_and_dvd_are_named(tmp_path):
    codec = identify(write_hollow(tmp_path / "a.safetensors", reference_shapes("codec")))
    assert (codec.role, codec.published, codec.sizes["z_dim"], codec.refusal) == ("codec", True, 16, "")
    shapes = dvd_shapes()
    assert len(shapes) == 825 + 600 + 194
    header = read_header(write_hollow(tmp_path / "model.safetensors", shapes))
    assert (header.values, header.bytes) == (2_245_813_811, 2 * 2_245_813_811)
    dvd = identify(header.path)
    assert (dvd.role, dvd.published, dvd.sizes["rank"], dvd.refusal) == ("dvd", True, 512, "")
    assert "v1.0 or v1.1" in dvd.in_words


def test_the_tiny_models_are_recognised_by_their_layout(tmp_path):
    dkt, dvd = dkt_folder(tmp_path / "dkt"), dvd_folder(tmp_path / "dvd")
    found = {file.stem: identify(file) for folder in (dkt, dvd) for file in folder.glob("*.safetensors")}
    roles = {name: layout.role for name, layout in found.items()}
    assert roles == {
        "dit_tiny_reference": "transformer",
        "vae_tiny_reference": "codec",
        "dit_tiny_lora": "lora",
        "prompt": "prompt",
        "model": "dvd",
    }
    assert not any(layout.published or layout.refusal for layout in found.values())
    assert found["dit_tiny_lora"].sizes == {"dim": 64, "ffn_dim": 96, "layers": 2, "rank": 4}
    assert found["prompt"].sizes == {"rows": 4, "text_dim": 32, "text": "depth"}


def test_the_bundled_engine_is_one_of_ours():
    from dkt_ros.engines.nano import WEIGHTS

    assert identify(WEIGHTS).role == "completion"


def other(name, shapes):
    """The tiny base, changed into something that resembles it."""
    dim = shapes["patch_embedding.bias"][0]
    if name == "i2v":
        return {**shapes, "patch_embedding.weight": (dim, 36, 1, 2, 2)}
    if name == "t2v":
        kept = {key: shape for key, shape in shapes.items() if "img" not in key}
        return {**kept, "patch_embedding.weight": (dim, 16, 1, 2, 2)}
    if name == "ti2v":
        return {key: shape for key, shape in shapes.items() if "img" not in key}
    if name == "odd":
        return {**shapes, "patch_embedding.weight": (dim, 20, 1, 2, 2)}
    extra = {"v1.1": "ref_conv.weight", "vace": "vace_blocks.0.before_proj.weight", "flf": "img_emb.emb_pos"}[name]
    return {**shapes, extra: (dim, 16)}


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("v1.1", "V1.1.*first release"),
        ("i2v", "image-to-video.*36 channels"),
        ("ti2v", "Wan 2.2"),
        ("odd", "another kind .20 channels"),
        ("vace", "VACE"),
        ("flf", "first-and-last-frame"),
    ],
)
def test_other_wan_models_are_named_and_refused(tmp_path, name, words):
    shapes = other(name, read_header(DKT / "dit_tiny_reference.safetensors").shapes)
    layout = identify(write_hollow(tmp_path / "other.safetensors", shapes))
    assert layout.role == "transformer"
    assert "other.safetensors" in layout.refusal
    assert re.search(words, layout.refusal)


def test_a_plain_wan_is_a_base_for_adapters_of_our_own_and_not_dkts(tmp_path):
    shapes = other("t2v", read_header(DKT / "dit_tiny_reference.safetensors").shapes)
    layout = identify(write_hollow(tmp_path / "t2v.safetensors", shapes))
    assert (layout.role, layout.refusal, layout.sizes["in_channels"]) == ("plain transformer", "", 16)
    assert re.search("text-to-video.*DVD's base", layout.in_words)


def test_a_full_size_v1_1_is_known_by_its_fingerprint(tmp_path):
    layout = identify(write_hollow(tmp_path / "a.safetensors", v1_1("1.3B")))
    assert (layout.name, layout.published) == ("wan2.1-fun-control-v1.1", True)
    assert "ref_conv" in layout.refusal


@pytest.mark.parametrize(
    ("shapes", "lost", "words"),
    [
        (lambda: reference_shapes("1.3B"), "blocks.7.norm3.bias", r"nearly .* 1.3B, but with other tensors \(982\)"),
        (lambda: reference_shapes("14B"), "head.head.weight", "not a whole Wan transformer"),
        (lambda: reference_shapes("codec"), "decoder.conv1.bias", r"nearly .* codec, but with other tensors \(193,"),
        (dvd_shapes, "pipe.dit.blocks.7.norm3.bias", r"nearly DVD, with other tensors \(1618,"),
        (dvd_shapes, "pipe.dit.blocks.7.ffn.2.lora_B.default.weight", "missing layers: of 600 tensors .* 1 are"),
    ],
)
def test_a_full_size_model_with_a_tensor_too_few_is_refused(tmp_path, shapes, lost, words):
    kept = {name: shape for name, shape in shapes().items() if name != lost}
    layout = identify(write_hollow(tmp_path / "a.safetensors", kept))
    assert not layout.published
    assert re.search(words, layout.refusal)


def test_dvd_without_its_adapters_is_refused(tmp_path):
    shapes = {name: shape for name, shape in dvd_shapes().items() if "lora" not in name}
    assert "without its adapters" in identify(write_hollow(tmp_path / "a.safetensors", shapes)).refusal


def test_dvd_with_a_layer_twice_is_refused(tmp_path):
    shapes = dvd_shapes()
    twice = {**shapes, "pipe.dit.blocks.0.self_attn.q.weight": (1536, 1536)}
    assert "twice" in identify(write_hollow(tmp_path / "a.safetensors", twice)).refusal


def test_a_codec_of_another_latent_space_is_refused(tmp_path):
    shapes = {**reference_shapes("codec"), "conv2.weight": (48, 48, 1, 1, 1)}
    assert "Wan 2.2" in identify(write_hollow(tmp_path / "a.safetensors", shapes)).in_words


def test_a_published_lora_says_its_size_and_rank(tmp_path):
    layout = identify(write_hollow(tmp_path / "a.safetensors", lora_shapes(40, 5120, 13824, 128)))
    assert layout.role == "lora"
    assert layout.in_words == "a LoRA of rank 128 for the 14B, 400 linear layers"


def test_depthlabs_networks_are_told_apart(tmp_path):
    unet = {
        "conv_in.weight": (32, 12, 3, 3),
        "time_embedding.linear_1.weight": (128, 32),
        "mid_block.resnets.0.conv1.weight": (32, 32, 3, 3),
    }
    ends = {f"{layer}.{kind}": (4,) for layer in ("conv_norm_out", "conv_out") for kind in ("weight", "bias")}
    reference = {**unet, "conv_in.weight": (32, 4, 3, 3)}
    mapping = {"mapping_layer.weight": (8, 8), "mapping_layer.bias": (8,)}
    roles = [identify(write_hollow(tmp_path / "a.safetensors", s)).role for s in ({**unet, **ends}, reference, mapping)]
    assert roles == ["depthlab denoiser", "depthlab reference", "depthlab mapping"]
    stable_diffusion = identify(write_hollow(tmp_path / "a.safetensors", {**reference, **ends}))
    assert (stable_diffusion.role, "not DepthLab's" in stable_diffusion.refusal) == ("unknown", True)


def test_small_codecs_image_models_and_text_encoders_are_told_apart(tmp_path):
    small = {"encoder.0.weight": (64, 3, 3, 3), "encoder.17.weight": (16, 64, 3, 3), "decoder.22.bias": (3,)}
    small |= {"decoder.1.weight": (256, 16, 3, 3)}
    image = {"encoder.conv_in.weight": (128, 3, 3, 3), "quant_conv.weight": (8, 8, 1, 1)}
    clip = {"vision_model.embeddings.patch_embedding.weight": (80, 3, 14, 14), "visual_projection.weight": (64, 80)}
    text = {"text_model.embeddings.token_embedding.weight": (9, 8)}
    models = (small, image, clip, text_encoder(), text)
    layouts = [identify(write_hollow(tmp_path / "a.safetensors", shapes)) for shapes in models]
    roles = [layout.role for layout in layouts]
    assert roles == ["tiny codec", "image vae", "image encoder", "text encoder", "text encoder"]
    assert [bool(layout.refusal) for layout in layouts] == [False, False, False, False, True]
    assert layouts[3].published
    other = identify(write_hollow(tmp_path / "a.safetensors", {**small, "encoder.0.weight": (64, 12, 3, 3)}))
    assert "another latent space" in other.refusal


def test_what_is_not_known_is_said_with_its_first_tensors(tmp_path):
    layout = identify(write_hollow(tmp_path / "a.safetensors", {"weight": (2, 3)}))
    assert layout.role == "unknown"
    assert "weight" in layout.in_words and "a.safetensors" in layout.refusal


def test_a_prompt_without_its_text_is_refused(tmp_path):
    save_file({"rows": torch.zeros(3, 8)}, tmp_path / "prompt.safetensors")
    assert "embed-prompt" in identify(tmp_path / "prompt.safetensors").refusal


@pytest.mark.parametrize("name", ["model.pth", "Wan2.1_VAE.PTH", "renamed.safetensors"])
def test_pickles_are_refused_by_name_and_by_content(tmp_path, name):
    torch.save({"a": torch.zeros(3)}, tmp_path / name)
    with pytest.raises(CheckpointError, match=r"pickle.*weights_only=True"):
        identify(tmp_path / name)
    (tmp_path / name).write_bytes(pickle.dumps({"a": [1.0]}))
    with pytest.raises(CheckpointError, match=r"pickle.*weights_only=True"):
        identify(tmp_path / name)


@pytest.mark.parametrize("length", [0x280, 0x380, 0x480, 0x580])
def test_a_header_as_long_as_a_pickle_begins_is_none(tmp_path, length):
    tensors = {"rows": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}
    write_raw(tmp_path / "a.safetensors", json.dumps(tensors).encode().ljust(length), b"\0" * 4)
    assert read_header(tmp_path / "a.safetensors").shapes == {"rows": (1,)}


@pytest.mark.parametrize(
    "text",
    [
        b'{"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]},'
        b' "b": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}',
        b'{"a": {"dtype": "F32", "shape": [1], "data_offsets": [4, 8]}}',
        b'{"a": {"dtype": "F32", "shape": [1e999], "data_offsets": [0, 4]}}',
        b'{"a": {"dtype": "F32", "shape": [-1], "data_offsets": [0, -4]}}',
        b"[" * 200_000,
        b"[]",
    ],
    ids=["overlap", "gap", "infinite", "negative", "nested", "list"],
)
def test_a_header_that_cannot_be_is_refused(tmp_path, text):
    write_raw(tmp_path / "a.safetensors", text, b"\0" * 4)
    with pytest.raises(CheckpointError, match=r"a\.safetensors: truncated or not safetensors .*fetch or copy it again"):
        read_header(tmp_path / "a.safetensors")


@pytest.mark.parametrize("first", [b"# A page\n", b"\0\0\0\x20ftypisom", b""], ids=["page", "mp4", "empty"])
def test_what_was_never_weights_is_told_from_what_was_cut_off(tmp_path, first):
    (tmp_path / "README.md").write_bytes(first)
    with pytest.raises(CheckpointError, match=r"README.md: not a weight file; .*safetensors is expected$"):
        read_header(tmp_path / "README.md")
    write_raw(tmp_path / "whole", b'{"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}', b"\0" * 4)
    whole = (tmp_path / "whole").read_bytes()
    for length, words in ((30, "it ends before its header does"), (len(whole) - 1, "truncated: ")):
        (tmp_path / "some").write_bytes(whole[:length])
        with pytest.raises(CheckpointError, match=f"{words}.*fetch or copy it again"):
            read_header(tmp_path / "some")
    (tmp_path / "a.safetensors").write_bytes(first)  # by its name it should be one
    with pytest.raises(CheckpointError, match=r"not safetensors .*fetch or copy it again") as caught:
        read_header(tmp_path / "a.safetensors")
    assert "Expecting" not in str(caught.value)


@pytest.mark.parametrize(
    "text", ["[" * 200_000, '{"weight_map": {"a": "../a.safetensors"}}', '{"weight_map": {"a": "/a"}}']
)
def test_an_index_is_no_way_out_of_its_folder_and_no_trap(tmp_path, text):
    (tmp_path / "a.safetensors.index.json").write_text(text)
    with pytest.raises(CheckpointError, match=r"not an index|outside its own folder"):
        read_header(tmp_path / "a.safetensors.index.json")


@pytest.mark.parametrize("name", ["a-00001-of-00000.safetensors", "a-00005-of-00001.safetensors"])
def test_shards_that_are_miscounted_are_refused(tmp_path, name):
    save_file({"a": torch.zeros(1)}, tmp_path / name)
    with pytest.raises(CheckpointError, match=r"counts shards wrongly .*rename it"):
        read_header(tmp_path / name)


@pytest.mark.parametrize("file", ["dit_tiny_reference", "vae_tiny_reference", "dit_tiny_lora"])
@pytest.mark.parametrize("kind", ["float8_e4m3fn", "int8"])
def test_values_of_8_bits_are_refused(tmp_path, file, kind):
    header = read_header(DKT / f"{file}.safetensors")
    values = {name: tensor.to(getattr(torch, kind)) for name, tensor in load_file(header.path).items()}
    save_file(values, tmp_path / "a.safetensors", metadata=header.metadata)
    assert re.search(r"of the type (F8_E4M3|I8); give the published", identify(tmp_path / "a.safetensors").refusal)


@pytest.mark.parametrize(
    ("file", "name", "shape"),
    [
        ("dit_tiny_reference", "patch_embedding.weight", (0, 48, 1, 0, 0)),
        ("vae_tiny_reference", "encoder.downsamples.0.residual.2.weight", ()),
        ("vae_tiny_reference", "conv2.weight", ()),
    ],
)
def test_a_shape_that_cannot_be_is_refused(tmp_path, file, name, shape):
    shapes = {**read_header(DKT / f"{file}.safetensors").shapes, name: shape}
    layout = identify(write_hollow(tmp_path / "a.safetensors", shapes))
    assert layout.role == "unknown" and "fetch it again" in layout.refusal
    with pytest.raises(CheckpointError, match=r"impossible shape|not a whole"):
        find_parts(tmp_path, "transformer")


def test_a_pointer_of_git_lfs_is_named(tmp_path):
    (tmp_path / "a.safetensors").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 3\n")
    with pytest.raises(CheckpointError, match="Git LFS"):
        identify(tmp_path / "a.safetensors")


@pytest.mark.parametrize("share", [0.0, 0.001, 0.01, 0.5, 0.999])
def test_a_truncated_file_is_refused(tmp_path, share):
    whole = (DKT / "dit_tiny_reference.safetensors").read_bytes()
    (tmp_path / "a.safetensors").write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(CheckpointError, match=r"a\.safetensors: truncated"):
        identify(tmp_path / "a.safetensors")


def test_a_file_with_too_much_in_it_is_refused(tmp_path):
    (tmp_path / "a.safetensors").write_bytes((DKT / "dit_tiny_reference.safetensors").read_bytes() + b"\0\0\0")
    with pytest.raises(CheckpointError, match=r"damaged: 755,315 bytes long, its header speaks of 755,312"):
        identify(tmp_path / "a.safetensors")


def sharded(folder, index=True):
    """The tiny base in three shards, with an index or numbered only."""
    tensors = load_file(DKT / "dit_tiny_reference.safetensors")
    homes = {name: f"base-{i % 3 + 1:05d}-of-00003.safetensors" for i, name in enumerate(sorted(tensors))}
    for home in set(homes.values()):
        save_file({name: tensors[name] for name in homes if homes[name] == home}, folder / home)
    if index:
        (folder / "base.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": homes}))
    return folder / ("base.safetensors.index.json" if index else "base-00002-of-00003.safetensors")


@pytest.mark.parametrize("index", [True, False])
def test_shards_are_one_model(tmp_path, index):
    path = sharded(tmp_path, index)
    assert identify(path).md5 == identify(DKT / "dit_tiny_reference.safetensors").md5
    assert len(read_header(path).files) == 3


@pytest.mark.parametrize("index", [True, False])
def test_missing_shards_are_named(tmp_path, index):
    path = sharded(tmp_path, index)
    (tmp_path / "base-00003-of-00003.safetensors").unlink()
    with pytest.raises(CheckpointError, match=r"1 of 3 shards are missing.*base-00003-of-00003"):
        identify(path)


def test_an_index_that_does_not_describe_its_shards_is_refused(tmp_path):
    path = sharded(tmp_path)
    index = json.loads(path.read_text())
    index["weight_map"]["head.head.bias"] = index["weight_map"]["head.modulation"].replace("1-", "2-")
    index["weight_map"]["more"] = "base-00001-of-00003.safetensors"
    path.write_text(json.dumps(index))
    with pytest.raises(CheckpointError, match=r"does not describe its shards"):
        identify(path)
    path.write_text("{}")
    with pytest.raises(CheckpointError, match=r"not an index"):
        identify(path)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"nothing\.safetensors"):
        identify(tmp_path / "nothing.safetensors")


def test_identifying_imports_no_torch():
    code = "import sys, dkt_ros.engines.parts; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
