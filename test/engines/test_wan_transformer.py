"""The transformer with its constants computed once says what the published one says."""

import copy
from functools import partial

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("diffusers")

from diffusers import WanTransformer3DModel  # noqa: E402
from safetensors.torch import load_file  # noqa: E402
from torch.utils.flop_counter import FlopCounterMode  # noqa: E402

from dkt_ros.engines.wan_transformer import FoldedTransformer, embed_times, rotary_tables, rotate  # noqa: E402
from dkt_ros.engines.weights import load_dvd, load_transformer  # noqa: E402
from dkt_ros.engines.windows import latent_windows, windowed_step  # noqa: E402
from test.engines.published import DKT, DVD, dvd_folder  # noqa: E402

#: Real sizes: DKT 1.3B; and DVD, which has no image branch.
DKT_SIZES = {
    "num_attention_heads": 12, "in_channels": 48, "out_channels": 16, "ffn_dim": 8960, "num_layers": 2,
    "image_dim": 1280, "added_kv_proj_dim": 1536,
}  # fmt: skip


@pytest.fixture(scope="module")
def io():
    return load_file(DKT / "dit_tiny_io.safetensors")


@pytest.fixture(scope="module")
def dvd_io():
    return {key: torch.from_numpy(value) for key, value in np.load(DVD / "dit_forward.npz").items()}


@pytest.fixture(scope="module")
def dvd_file(tmp_path_factory):
    return dvd_folder(tmp_path_factory.mktemp("dvd")) / "model.safetensors"


def dkt(io, times, image_token=True, dtype=torch.float32, **options):
    model = load_transformer(DKT / "dit_tiny_reference.safetensors", dtype=dtype)
    return FoldedTransformer(model, times, io["context"][0], image_token, **options)


def asked(io, case, frames=slice(None)):
    return torch.cat([io[f"{case}.latents"], io[f"{case}.control_latents"]], dim=1)[:, :, frames]


@pytest.mark.parametrize("case", ["a", "b", "c"])
def test_dkt_matches_the_reference(io, case):
    model = dkt(io, [io[f"{case}.timestep"].item()])
    torch.testing.assert_close(model(asked(io, case), 0), io[f"{case}.output"], rtol=0, atol=5e-6)


def test_an_image_feature_matches_the_reference(io):
    model = dkt(io, [io["d.timestep"].item()], io["d.clip_feature"][0])
    torch.testing.assert_close(model(asked(io, "d"), 0), io["d.output"], rtol=0, atol=5e-6)


def test_blended_windows_match_the_reference(io):
    """40 latent frames in three windows, the last of four frames only."""
    model, windows = dkt(io, [io["win.timestep"].item()]), latent_windows(40, 21, 3)
    assert windows == [(0, 21), (18, 39), (36, 40)]
    blended = windowed_step(
        iter([(io["win.latents"], io["win.control_latents"])]), windows, 3,
        velocity=lambda latents, control: model(torch.cat([latents, control], dim=1), 0),
        advance=lambda latents, velocity: velocity,
    )  # fmt: skip
    given = torch.cat([stretch[0] for stretch in blended], dim=2)
    torch.testing.assert_close(given, io["win.output"], rtol=0, atol=5e-6)


def test_every_step_has_its_time(io):
    model = dkt(io, [io[f"{case}.timestep"].item() for case in "ab"])
    for step, case in enumerate("ab"):
        torch.testing.assert_close(model(asked(io, case), step), io[f"{case}.output"], rtol=0, atol=5e-6)


def test_channels_left_out_are_zeros(io):
    model = dkt(io, [1000.0])
    given = asked(io, "a")
    whole = torch.cat([given, torch.zeros_like(given[:, :16])], dim=1)
    torch.testing.assert_close(model(given, 0), model(whole, 0), rtol=0, atol=2e-6)


def test_what_is_embedded_matches_the_reference(io):
    embedder = load_transformer(DKT / "dit_tiny_reference.safetensors").condition_embedder
    with torch.no_grad():
        time = embed_times(embedder, io["b.timestep"].tolist())
        image = embedder.image_embedder(torch.zeros(1, 1, 64))
        text = embedder.text_embedder(io["context"])[:, :6]
    torch.testing.assert_close(time, io["mid.temb_952p381"], rtol=0, atol=2e-6)
    torch.testing.assert_close(image, io["mid.img_emb_of_zeros"], rtol=0, atol=1e-6)
    torch.testing.assert_close(text, io["mid.text_emb"], rtol=0, atol=1e-6)


@pytest.mark.parametrize(("known", "time"), [("mid.sinusoid_952p381", float(np.float32(952.381))), ("dvd", 500.0)])
def test_the_sinusoid_is_the_reference_s(io, dvd_io, known, time):
    class Straight(torch.nn.Module):
        """An embedder that passes the sinusoid on: its first layer is followed by SiLU, which has an inverse here."""

        def __init__(self):
            super().__init__()
            self.timesteps_proj = type("Proj", (), {"num_channels": 256})
            self.time_embedder = torch.nn.Module()
            self.time_embedder.linear_1 = torch.nn.Linear(256, 512)
            self.time_embedder.linear_2 = torch.nn.Linear(512, 256)
            self.time_embedder.linear_1.weight.data = torch.cat([torch.eye(256), -torch.eye(256)])
            self.time_embedder.linear_2.weight.data = torch.cat([torch.eye(256), -torch.eye(256)], dim=1)
            self.time_embedder.linear_1.bias.data.zero_()
            self.time_embedder.linear_2.bias.data.zero_()

    # silu(x) - silu(-x) = x
    wanted = dvd_io["sinusoid"] if known == "dvd" else io[known]
    found = embed_times(Straight(), [time]).detach()
    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-6)
    if known == "dvd":
        stored = {key: torch.from_numpy(value) for key, value in np.load(DVD / "precision.npz").items()}
        torch.testing.assert_close(found, stored["sinusoid500_f32"], rtol=0, atol=1e-6)
        assert torch.equal(found.bfloat16().float(), stored["sinusoid500_bf16"])


@pytest.mark.parametrize("time", [0, 250, 500, 1000])
def test_dvd_matches_the_reference(dvd_file, dvd_io, time):
    model = FoldedTransformer(load_dvd(dvd_file).transformer, [time], None, False)
    torch.testing.assert_close(model(dvd_io["latents"], 0), dvd_io[f"out_t{time}"], rtol=0, atol=5e-6)


def test_dvd_of_two_clips_and_of_one_frame_matches_the_reference(dvd_file, dvd_io):
    model = FoldedTransformer(load_dvd(dvd_file).transformer, [500], None, False)
    for name in ("b2", "t1"):
        torch.testing.assert_close(model(dvd_io[f"latents_{name}"], 0), dvd_io[f"out_{name}"], rtol=0, atol=5e-6)


def test_what_dvd_embeds_matches_the_reference(dvd_file, dvd_io):
    net = load_dvd(dvd_file).transformer
    embedder = net.condition_embedder
    with torch.no_grad():
        time = embed_times(embedder, [500.0])
        parts = embedder.time_proj(torch.nn.functional.silu(time)).unflatten(1, (6, -1))
        text = embedder.text_embedder(torch.zeros(1, 4096))
        patches = net.patch_embedding(dvd_io["latents"]).flatten(2).transpose(1, 2)
        embedded = FoldedTransformer(net, [500], None, False)._embed(dvd_io["latents"], (3, 3, 4))
    torch.testing.assert_close(time, dvd_io["time_emb"], rtol=0, atol=3e-6)
    torch.testing.assert_close(parts, dvd_io["time_mod"], rtol=0, atol=3e-6)
    torch.testing.assert_close(text, dvd_io["ctx_emb_token0"], rtol=0, atol=1e-6)
    torch.testing.assert_close(patches, dvd_io["patch_tokens"], rtol=0, atol=3e-6)
    torch.testing.assert_close(embedded, dvd_io["patch_tokens"], rtol=0, atol=3e-6)


def test_dvd_s_cross_attention_is_a_constant(dvd_file):
    model = FoldedTransformer(load_dvd(dvd_file).transformer, [500], None, False)
    assert [block.cross.prompts for block in model.blocks] == [0, 0]
    assert not any("query" in name for name, _ in model.named_parameters())


def test_equal_rows_of_a_prompt_are_one_key(io):
    """4 rows of a prompt and 508 of zeros are 5 keys; 257 equal image tokens are none."""
    model = dkt(io, [1000.0])
    for block in model.blocks:
        assert [each.shape for each in block.cross.keys] == [(2, 32, 5)]
        assert block.cross.raises[0].exp().sort().values.round().tolist() == [1, 1, 1, 1, 508]


def test_rotary_embedding_matches_the_reference():
    known = {key: torch.from_numpy(value) for key, value in np.load(DVD / "rope.npz").items()}
    cosine, sine = rotary_tables(tuple(known["grid"].tolist()), 12)
    torch.testing.assert_close(cosine, known["cos"], rtol=0, atol=1e-6, check_dtype=False)
    torch.testing.assert_close(sine, known["sin"], rtol=0, atol=1e-6, check_dtype=False)
    heads = int(known["heads"])
    alternating = known["x"].unflatten(-1, (heads, -1))
    halves = torch.cat([alternating[..., 0::2], alternating[..., 1::2]], dim=-1)
    turned = rotate(halves, cosine[:, None], sine[:, None])
    back = torch.stack(turned.chunk(2, dim=-1), dim=-1).flatten(-2)
    torch.testing.assert_close(back.flatten(-2), known["y"], rtol=0, atol=1e-6, check_dtype=False)


@pytest.mark.parametrize("head_dim", [12, 16, 24, 32, 64, 128])
def test_any_head_width(head_dim):
    """Against diffusers, whose sinusoid is float32: at time 0 that makes no difference."""
    torch.manual_seed(head_dim)
    model = WanTransformer3DModel(
        num_attention_heads=2, attention_head_dim=head_dim, in_channels=4, out_channels=4, ffn_dim=32, num_layers=1,
        text_dim=8,
    ).eval()  # fmt: skip
    latents, text = torch.randn(2, 4, 3, 4, 6), torch.randn(512, 8)
    with torch.no_grad():
        wanted = model(latents, torch.zeros(2), text.expand(2, -1, -1)).sample
    folded = FoldedTransformer(model, [0], text, False)
    torch.testing.assert_close(folded(latents, 0), wanted, rtol=0, atol=5e-6)


def test_bfloat16_errs_as_the_plain_model_does(io):
    plain = load_transformer(DKT / "dit_tiny_reference.safetensors", dtype=torch.bfloat16)
    given = asked(io, "b")
    padded = torch.cat([given, torch.zeros_like(given[:, :16])], dim=1).bfloat16()
    text, image = io["context"].bfloat16(), torch.zeros(1, 257, 64, dtype=torch.bfloat16)
    with torch.no_grad():
        theirs = plain(padded, io["b.timestep"], text, image).sample.float()
    ours = dkt(io, [io["b.timestep"].item()], dtype=torch.bfloat16)(given, 0)
    assert ours.dtype == torch.float32
    assert error(ours, io["b.output"]) < 1.25 * error(theirs, io["b.output"]) < 0.02


def error(given, wanted):
    return float((given - wanted).square().mean().sqrt() / wanted.std())


@pytest.mark.parametrize("attention", ["cudnn", "flash", "math"])
def test_kernels_of_the_attention_agree(io, attention):
    """Where a kernel cannot run, as cuDNN's here, the next one does."""
    model = dkt(io, [1000.0], attention=attention)
    torch.testing.assert_close(model(asked(io, "a"), 0), io["a.output"], rtol=0, atol=5e-6)


def test_a_block_compiles_as_one_graph(io, monkeypatch):
    """Traced and run without the machine code: that takes a minute and more on a small CPU."""
    seen = []

    def backend(graph, inputs):
        seen.append(len(graph.graph.nodes))
        return graph.forward

    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend=backend, fullgraph=True))
    torch._dynamo.reset()
    model = dkt(io, [1000.0], compiled=True)
    torch.testing.assert_close(model(asked(io, "a"), 0), io["a.output"], rtol=0, atol=5e-6)
    assert len(seen) == 1, "one graph for all blocks"
    model(asked(io, "a"), 0)
    assert len(seen) == 1, "and none anew for a second call"


def test_what_folding_saves_at_real_size():
    """Counted over 2 of the 30 blocks with a prompt of 2 rows, 6 latent frames of 832x480."""
    with torch.device("meta"):
        model = WanTransformer3DModel(**DKT_SIZES)
    latents = torch.empty(1, 48, 6, 60, 104, device="meta")
    image, text = torch.empty(1, 257, 1280, device="meta"), torch.empty(1, 512, 4096, device="meta")
    with torch.no_grad(), FlopCounterMode(display=False) as plain:
        model(latents, torch.zeros(1, device="meta"), text, image)
    rows = torch.zeros(512, 4096)
    rows[:2] = torch.randn(2, 4096)
    folded = FoldedTransformer(model, [0], rows, True)
    assert folded.blocks[0].cross.keys[0].shape == (12, 128, 3)
    with FlopCounterMode(display=False) as ours:
        folded(latents[:, :32], 0)
    assert 0.88 < ours.get_total_flops() / plain.get_total_flops() < 0.93


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"text": torch.zeros(5, 32)}, "pad it with zeros to 512"),
        ({"text": torch.zeros(512, 31)}, "rows of 32"),
        ({"image_token": False}, "has an image branch"),
        ({"attention": "fast"}, "choose one of default, cudnn, flash, math"),
    ],
)
def test_what_cannot_be_folded_is_refused(io, change, said):
    model = load_transformer(DKT / "dit_tiny_reference.safetensors")
    with pytest.raises(ValueError, match=said):
        FoldedTransformer(model, [0], **{"text": io["context"][0], "image_token": True, **change})


def test_angles_of_many_lengths_do_not_pile_up(io):
    model = dkt(io, [1000.0])
    wanted = model(asked(io, "a"), 0)
    for frames in range(1, 6):
        model(asked(io, "a", slice(frames)), 0)
        assert len(model._grids) <= 4
    assert torch.equal(model(asked(io, "a"), 0), wanted)


@pytest.mark.parametrize("shape", [(1, 49, 1, 4, 4), (1, 48, 1, 3, 4), (1, 48, 1, 4, 5)])
def test_latents_off_the_grid_are_refused(io, shape):
    with pytest.raises(ValueError, match="multiples of"):
        dkt(io, [0])(torch.zeros(shape), 0)


def test_projections_are_not_in_memory_twice():
    torch.manual_seed(0)
    sizes = {"num_attention_heads": 2, "attention_head_dim": 12, "in_channels": 4, "out_channels": 4, "ffn_dim": 32}
    model = WanTransformer3DModel(**sizes, num_layers=3, text_dim=8)
    before = sum(each.numel() for each in model.parameters())
    folded = FoldedTransformer(copy.deepcopy(model), [0], None, False)
    assert sum(each.numel() for each in folded.parameters()) < before
