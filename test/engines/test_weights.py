"""Published weights in diffusers' classes give the reference's numbers, at every size and under every name."""

import json
import weakref
from contextlib import contextmanager
from types import SimpleNamespace

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("diffusers")

from safetensors.torch import load_file, save_file  # noqa: E402

from dkt_ros.engines.headers import CheckpointError  # noqa: E402
from dkt_ros.engines.weights import load_codec, load_dvd, load_transformer  # noqa: E402
from test.engines.published import DKT, DVD, DVD_CONFIG, dvd_folder, dvd_tensors  # noqa: E402

BASE, LORA = DKT / "dit_tiny_reference.safetensors", DKT / "dit_tiny_lora.safetensors"
CODEC = DKT / "vae_tiny_reference.safetensors"
METADATA = {"config": json.dumps({"num_heads": 2})}


@pytest.fixture(scope="module")
def base():
    return load_transformer(BASE)


@pytest.fixture(scope="module")
def dvd(tmp_path_factory):
    return load_dvd(dvd_folder(tmp_path_factory.mktemp("dvd")) / "model.safetensors")


@torch.no_grad()
def velocity(model, case, io):
    latents, control = io[f"{case}.latents"], io[f"{case}.control_latents"]
    conditioned = torch.cat([latents, control, torch.zeros_like(latents)], dim=1)
    picture = io.get(f"{case}.clip_feature", torch.zeros(1, 257, 64))
    return model(conditioned, io[f"{case}.timestep"], io["context"], picture, return_dict=False)[0]


def error(ours, theirs):
    return float((ours - torch.as_tensor(theirs)).abs().max())


@pytest.mark.parametrize("case", "abcd")
def test_dkts_base_gives_the_references_velocity(base, case):
    io = load_file(DKT / "dit_tiny_io.safetensors")
    assert error(velocity(base, case, io), io[f"{case}.output"]) < 1e-4


def test_dkts_base_with_its_lora_gives_the_references_velocity():
    io, with_lora = load_file(DKT / "dit_tiny_io.safetensors"), load_file(DKT / "dit_tiny_lora_io.safetensors")
    model = load_transformer(BASE, [LORA])
    assert error(model.blocks[0].ffn.net[0].proj.weight, with_lora["merged.blocks.0.ffn.0.weight"]) < 1e-6
    assert error(velocity(model, "a", io), with_lora["a.output_with_lora"]) < 1e-4
    assert error(velocity(model, "a", io), io["a.output"]) > 0.1


def test_every_tensor_of_the_codec_has_its_place():
    stored, codec = load_file(CODEC), load_codec(CODEC)
    assert len(stored) == len(codec.state_dict()) == 194
    given = sorted((tuple(t.shape), float(t.double().sum())) for t in stored.values())
    taken = sorted((tuple(t.shape), float(t.double().sum())) for t in codec.state_dict().values())
    assert given == taken
    assert (codec.config.base_dim, codec.config.scale_factor_temporal, codec.config.scale_factor_spatial) == (4, 4, 8)
    io = load_file(DKT / "vae_tiny_io.safetensors")
    mean, std = (torch.tensor(codec.config[f"latents_{name}"]).view(1, -1, 1, 1, 1) for name in ("mean", "std"))
    with torch.no_grad():
        latents = (codec.encode(io["v5.video"]).latent_dist.mean - mean) / std
        decoded = codec.decode(io["v5.latent"] * std + mean, return_dict=False)[0]
    assert error(latents, io["v5.latent"]) < 1e-5
    assert error(decoded, io["v5.decoded"]) < 1e-4


@torch.no_grad()
def dvd_latents(model, expected, time=500.0):
    latents = torch.from_numpy(expected["latents"])
    return model(latents, torch.tensor([time]), torch.zeros(1, 512, 4096), return_dict=False)[0]


@pytest.mark.parametrize("time", [0, 250, 500, 1000])
def test_dvd_gives_the_references_latents(dvd, time):
    expected = np.load(DVD / "dit_forward.npz")
    assert error(dvd_latents(dvd.transformer, expected, float(time)), expected[f"out_t{time}"]) < 3e-5


def test_dvd_merged(dvd):
    expected = np.load(DVD / "dit_forward.npz")
    assert error(dvd_latents(dvd.transformer, expected), expected["out_merged_t500"]) < 3e-5
    assert error(dvd.transformer.blocks[0].attn1.to_q.weight, expected["merged_block0_self_q"]) < 1e-6
    assert error(dvd.transformer.blocks[1].ffn.net[2].weight, expected["merged_block1_ffn2"]) < 1e-6
    assert dvd.codec is not None and dvd.codec.config.base_dim == 8
    assert dvd.denoise_step == 0.5


def test_dvds_sizes_are_read_from_its_tensors(dvd):
    known, net, codec = json.loads((DVD / "tiny_dvd.json").read_text()), dvd.transformer.config, dvd.codec.config
    dit, vae = known["dit"], known["vae"]
    assert net.num_attention_heads * net.attention_head_dim == dit["dim"]
    ours = (net.num_attention_heads, net.in_channels, net.out_channels, net.ffn_dim, net.num_layers, net.text_dim)
    assert ours == tuple(dit[key] for key in ("num_heads", "in_dim", "out_dim", "ffn_dim", "num_layers", "text_dim"))
    assert (net.freq_dim, list(net.patch_size), net.eps) == (dit["freq_dim"], dit["patch_size"], dit["eps"])
    assert (net.image_dim is not None) == dit["has_image_input"]
    assert (codec.base_dim, codec.z_dim, list(codec.dim_mult)) == (vae["dim"], vae["z_dim"], vae["dim_mult"])
    assert codec.num_res_blocks == vae["num_res_blocks"]
    assert list(codec.temperal_downsample) == vae["temporal_downsample"]
    adapters = {name: tensor.shape[0] for name, tensor in dvd_tensors().items() if "lora_A" in name}
    assert set(adapters.values()) == {known["lora_rank"]} == {known["lora_alpha"]} and len(adapters) == 2 * 10
    assert all(name.split(".lora_A")[0].endswith(tuple(known["lora_targets"])) for name in adapters)


def test_dvd_without_its_adapters_is_only_had_on_request(tmp_path):
    expected, folder = np.load(DVD / "dit_forward.npz"), dvd_folder(tmp_path)
    plain = load_dvd(folder / "model.safetensors", merge=False).transformer
    assert error(dvd_latents(plain, expected), expected["out_base_without_lora"]) < 3e-5
    assert error(dvd_latents(plain, expected), expected["out_t500"]) > 0.01
    tensors = {name: tensor for name, tensor in dvd_tensors().items() if "lora" not in name}
    save_file(tensors, folder / "model.safetensors")
    with pytest.raises(CheckpointError, match="without its adapters"):
        load_dvd(folder / "model.safetensors")


def test_both_versions_of_dvd_load_and_a_file_without_codec_does(tmp_path):
    folder = dvd_folder(tmp_path, config=None, name="dvd_1.1.safetensors")
    tensors = {name: tensor for name, tensor in dvd_tensors().items() if "pipe.vae" not in name}
    save_file(tensors, folder / "model.safetensors")
    newer, older = (load_dvd(folder / name) for name in ("dvd_1.1.safetensors", "model.safetensors"))
    assert (newer.codec is None, older.codec is None) == (False, True)
    assert newer.denoise_step == older.denoise_step == 0.5
    for ours, theirs in zip(newer.transformer.parameters(), older.transformer.parameters(), strict=True):
        assert torch.equal(ours, theirs)


def test_dvds_configuration_is_read_and_another_training_refused(tmp_path):
    dvd_folder(tmp_path, DVD_CONFIG.replace("0.5", "0.25"))
    assert load_dvd(tmp_path / "model.safetensors").denoise_step == 0.25
    for old, new, words in (
        ("regression", "generation", "mode is 'generation'"),
        ("training_target: x", "training_target: v", "training_target is 'v'"),
        ("0.5", "7", "denoise_step is 7"),
        ("0.5", "half", "not DVD's configuration"),
        (DVD_CONFIG, "[1, 2]", "not DVD's configuration"),
        (DVD_CONFIG, "{", "not DVD's configuration"),
    ):
        (tmp_path / "model_config.yaml").write_text(DVD_CONFIG.replace(old, new))
        with pytest.raises(CheckpointError, match=f"model_config.yaml: {words}"):
            load_dvd(tmp_path / "model.safetensors")


@pytest.mark.parametrize("kind", ["prefix", "diffusers", "shards"])
def test_the_same_model_under_other_names_and_in_shards(base, tmp_path, kind):
    tensors, path = load_file(BASE), tmp_path / "a.safetensors"
    if kind == "prefix":
        save_file({f"model.diffusion_model.{name}": tensor for name, tensor in tensors.items()}, path, METADATA)
    elif kind == "diffusers":
        base.save_pretrained(tmp_path)
        path = tmp_path / "diffusion_pytorch_model.safetensors"
    else:
        names, path = sorted(tensors), tmp_path / "a.safetensors.index.json"
        homes = {name: f"{'first' if i < 40 else 'second'}.safetensors" for i, name in enumerate(names)}
        for home in set(homes.values()):
            save_file({name: tensors[name] for name in names if homes[name] == home}, tmp_path / home, METADATA)
        path.write_text(json.dumps({"weight_map": homes}))
    model, plain = load_transformer(path, [LORA]), load_transformer(BASE, [LORA])
    assert model.config.num_attention_heads == 2
    for name, tensor in plain.state_dict().items():
        assert torch.equal(model.state_dict()[name], tensor), name
    if kind == "shards":
        load_transformer([tmp_path / "first.safetensors", path][::-1])


def test_a_codec_under_diffusers_names(tmp_path):
    codec = load_codec(CODEC)
    codec.save_pretrained(tmp_path)
    again = load_codec(tmp_path / "diffusion_pytorch_model.safetensors")
    for name, tensor in codec.state_dict().items():
        assert torch.equal(again.state_dict()[name], tensor), name


@pytest.mark.parametrize(
    ("metadata", "beside", "heads"),
    [
        (METADATA, None, 2),
        (METADATA, {"num_attention_heads": 4}, 2),
        (None, {"num_attention_heads": 4, "attention_head_dim": 16}, 4),
        (None, {"num_heads": 1}, 1),
        (None, {"_class_name": "WanModel", "model_type": "i2v", "num_heads": 4}, 4),  # as in Wan's own repositories
        (METADATA, {"model_type": "umt5", "num_heads": 5}, 2),
    ],
)
def test_the_number_of_heads_is_in_the_metadata_or_beside_the_file(tmp_path, metadata, beside, heads):
    save_file(load_file(BASE), tmp_path / "a.safetensors", metadata)
    if beside:
        (tmp_path / "config.json").write_text(json.dumps(beside))
    assert load_transformer(tmp_path / "a.safetensors").config.num_attention_heads == heads


@pytest.mark.parametrize(
    ("beside", "words"),
    [
        (None, "64 wide, no multiple of 128.*num_attention_heads"),
        ('{"model_type": "umt5", "num_heads": 64}', "64 wide, no multiple of 128"),
        ('{"_class_name": "AutoencoderKLWan"}', "64 wide, no multiple of 128"),
        ('{"num_heads": 3}', "3 heads do not divide a width of 64"),
        ('{"num_heads": "two"}', "two heads do not divide"),
        ("{", "config.json: not JSON"),
    ],
)
def test_heads_are_not_guessed(tmp_path, beside, words):
    save_file(load_file(BASE), tmp_path / "a.safetensors")
    if beside:
        (tmp_path / "config.json").write_text(beside)
    with pytest.raises(CheckpointError, match=words):
        load_transformer(tmp_path / "a.safetensors")


def test_heads_of_a_published_width_are_128_wide(tmp_path):
    from diffusers import WanTransformer3DModel

    model = WanTransformer3DModel(
        num_attention_heads=3, attention_head_dim=128, in_channels=48, out_channels=16, text_dim=8, freq_dim=8,
        ffn_dim=8, num_layers=1, image_dim=8, added_kv_proj_dim=384,
    )  # fmt: skip
    save_file(model.state_dict(), tmp_path / "a.safetensors")
    assert load_transformer(tmp_path / "a.safetensors").config.num_attention_heads == 3


def test_bfloat16_keeps_what_from_pretrained_keeps_in_float32(base, tmp_path):
    from diffusers import WanTransformer3DModel

    base.save_pretrained(tmp_path)
    theirs = WanTransformer3DModel.from_pretrained(tmp_path, torch_dtype=torch.bfloat16).state_dict()
    ours = load_transformer(BASE, dtype=torch.bfloat16).state_dict()
    assert {t.dtype for t in ours.values()} == {torch.float32, torch.bfloat16}
    for name, tensor in theirs.items():
        assert (ours[name].dtype, torch.equal(ours[name], tensor)) == (tensor.dtype, True), name
    assert {tensor.dtype for tensor in load_codec(CODEC, torch.bfloat16).parameters()} == {torch.bfloat16}


def test_adapters_are_added_before_the_one_rounding_to_bfloat16():
    exact, rounded = (load_transformer(BASE, [LORA], dtype) for dtype in (torch.float32, torch.bfloat16))
    assert torch.equal(rounded.blocks[1].ffn.net[2].weight, exact.blocks[1].ffn.net[2].weight.bfloat16())


def test_models_are_ready_for_inference(base, dvd):
    for model in (base, dvd.transformer, dvd.codec, load_codec(CODEC)):
        assert not model.training
        assert not any(parameter.requires_grad or parameter.is_meta for parameter in model.parameters())
        assert not any(buffer.is_meta for buffer in model.buffers())


def test_memory_never_holds_a_second_copy(monkeypatch):
    from safetensors import safe_open

    alive, most, read = [0], [0], []

    def counted(path, framework):
        file = safe_open(path, framework)

        @contextmanager
        def reader():
            yield SimpleNamespace(get_tensor=get_tensor)

        def get_tensor(name):
            tensor = file.get_tensor(name).clone()
            size = tensor.numel()
            alive[0] += size
            most[0] = max(most[0], alive[0])
            read.append(size)
            weakref.finalize(tensor, lambda: alive.__setitem__(0, alive[0] - size))
            return tensor

        return reader()

    monkeypatch.setattr("dkt_ros.engines.assembly.safe_open", counted)
    load_transformer(BASE, [LORA])
    assert len(read) == 87 + 40
    assert most[0] <= 3 * max(read) < 0.5 * sum(read)  # one weight and its adapters at a time, beside the finished ones


def test_parameters_do_not_hang_on_the_file(tmp_path):
    path = tmp_path / "a.safetensors"
    path.write_bytes(CODEC.read_bytes())
    codec = load_codec(path)
    before = codec.quant_conv.weight.clone()
    path.write_bytes(bytes(path.stat().st_size))
    assert torch.equal(codec.quant_conv.weight, before)


def test_a_tensor_that_is_missing_foreign_or_of_another_shape_is_named(tmp_path):
    tensors, path = load_file(BASE), tmp_path / "a.safetensors"
    lost = tensors.pop("blocks.1.norm3.bias")
    save_file({**tensors, "blocks.1.norm3.biass": lost, "head.modulation": torch.zeros(1, 3, 64)}, path, METADATA)
    with pytest.raises(CheckpointError, match=r"1 missing .*1.norm2.bias.* 1 foreign .*biass.* 1 of another shape"):
        load_transformer(path)


def test_values_that_are_not_finite_are_refused(tmp_path):
    tensors, path = load_file(LORA), tmp_path / "lora.safetensors"
    name = "blocks.1.ffn.2.lora_B.default.weight"
    for value, dtype in ((float("nan"), torch.float32), (float("inf"), torch.bfloat16)):
        save_file({**tensors, name: torch.full_like(tensors[name], value)}, path)
        with pytest.raises(CheckpointError, match=r"lora\.safetensors: blocks\.1\.ffn\.net\.2\.weight .* not finite"):
            load_transformer(BASE, [path], dtype)


def test_a_file_of_another_role_is_named():
    with pytest.raises(CheckpointError, match=r"no codec, but Wan2.1-Fun-Control.*give the codec's file"):
        load_codec(BASE)
    with pytest.raises(CheckpointError, match=r"no dvd, but the Wan 2.1 video codec"):
        load_dvd(CODEC)
    with pytest.raises(CheckpointError, match=r"not one set of shards"):
        load_codec([CODEC, BASE])


def test_a_refused_base_and_a_foreign_lora_do_not_load(tmp_path):
    tensors = load_file(BASE)
    save_file({**tensors, "ref_conv.weight": torch.zeros(64, 16, 2, 2)}, tmp_path / "v1.1.safetensors", METADATA)
    with pytest.raises(CheckpointError, match=r"V1\.1.*first release"):
        load_transformer(tmp_path / "v1.1.safetensors")
    one_block = {name: tensor for name, tensor in load_file(LORA).items() if "blocks.0." in name}
    save_file(one_block, tmp_path / "lora.safetensors")
    with pytest.raises(CheckpointError, match="missing layers: 10 adapters, blocks 0 to 0 of the 2"):
        load_transformer(BASE, [tmp_path / "lora.safetensors"])
