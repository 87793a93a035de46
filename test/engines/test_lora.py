"""Adapters: every published spelling is read, what is incomplete or foreign is refused with counts, sums are exact."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from safetensors.torch import load_file  # noqa: E402

from dkt_ros.engines.headers import CheckpointError, read_header  # noqa: E402
from dkt_ros.engines.lora import check_base, merged, read_lora  # noqa: E402
from test.engines.published import DKT, DVD, lora_shapes  # noqa: E402

SPELLINGS = {
    "as DiffSynth's trainer writes": lambda name: name,
    "without .default": lambda name: name.replace(".default", ""),
    "with prefix": lambda name: "diffusion_model." + name,
    "with prefix, without .default": lambda name: "diffusion_model." + name.replace(".default", ""),
}
SIZES = {"dim": 8, "ffn_dim": 12, "layers": 3}


@pytest.mark.parametrize("spelling", SPELLINGS.values(), ids=SPELLINGS)
def test_all_four_spellings_are_read(spelling):
    stored = read_header(DKT / "dit_tiny_lora.safetensors").shapes
    lora = read_lora({spelling(name): shape for name, shape in stored.items()}, "file")
    assert (lora.ranks, lora.dim, lora.ffn_dim, lora.layers, len(lora.pairs)) == ((4,), 64, 96, 2, 20)
    down, up = lora.pairs["blocks.1.cross_attn.o"]
    assert {down, up} == {spelling(f"blocks.1.cross_attn.o.lora_{half}.default.weight") for half in "AB"}


def test_the_published_lora_has_three_hundred_layers():
    lora = read_lora(lora_shapes(30, 1536, 8960, 128), "file")
    assert len(lora.pairs) == 300
    assert sum(a * b for a, b in lora_shapes(30, 1536, 8960, 128).values()) == pytest.approx(175.0e6, rel=1e-3)


def changed(change):
    shapes = lora_shapes(3, 8, 12, 2)
    change(shapes)
    return shapes


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda s: s.pop("blocks.1.ffn.0.lora_B.default.weight"), r"of 60 tensors .* 1 are not there.*1.ffn.0.lora_B"),
        (
            lambda s: [s.pop(name) for name in list(s) if name.startswith("blocks.1.")],
            r"of 60 tensors for 3 blocks, 20 are not there",
        ),
        (lambda s: [s.pop(name) for name in list(s) if ".ffn.2." in name], r"of 60 tensors .* 6 are not there"),
        (
            lambda s: s.update({"blocks.2.cross_attn.q.lora_A.default.weight": (3, 8)}),
            r"in 1 of 30 layers A and B are of different rank or none, blocks.2.cross_attn.q: A has 3, B has 2",
        ),
        (
            lambda s: s.update({name: (0, 8) if "_A." in name else (8, 0) for name in s if ".0.self_attn.q." in name}),
            r"rank or none, blocks.0.self_attn.q: A has 0",
        ),
        (
            lambda s: s.update({"blocks.2.cross_attn.q.lora_A.default.weight": (2, 9)}),
            r"blocks.2.cross_attn.q is for a layer of 9 -> 8, the others for a model 8 wide",
        ),
        (lambda s: s.update({"blocks.0.cross_attn.k_img.lora_A.weight": (2, 8)}), r"1 of 61 tensors are not.*k_img"),
        (lambda s: s.update({"head.head.bias": (4,)}), r"1 of 61 tensors are not adapters"),
        (lambda s: s.update({"blocks.0.self_attn.q.alpha": ()}), r"1 of 61 .*kohya"),
        (lambda s: s.update({"blocks.0.self_attn.q.lora_A.weight": (2, 8)}), r"blocks.0.self_attn.q occurs twice"),
        (lambda s: s.clear(), r"no adapters"),
    ],
)  # fmt: skip
def test_what_is_incomplete_or_foreign_is_refused_with_counts(change, words):
    with pytest.raises(CheckpointError, match=words):
        read_lora(changed(change), "file")


def test_a_lora_of_kohyas_scripts_is_named():
    shapes = {f"lora_unet_blocks_0_self_attn_q.{part}": (2, 8) for part in ("lora_down.weight", "lora_up.weight")}
    with pytest.raises(CheckpointError, match=r"2 of 2 tensors.*kohya's scripts.*as published"):
        read_lora(shapes, "file")


def test_a_lora_for_another_base_is_refused_with_both_sizes():
    large, small = lora_shapes(40, 5120, 13824, 64), {"dim": 1536, "ffn_dim": 8960, "layers": 30}
    with pytest.raises(CheckpointError) as caught:
        check_base(read_lora(large, "lora.safetensors"), small, "lora.safetensors", "base.safetensors")
    for words in ("a 14B, 5120 wide", "40 blocks", "base.safetensors is a 1.3B, 1536 wide", "30 blocks", "mixed sizes"):
        assert words in str(caught.value)
    with pytest.raises(CheckpointError, match="mixed sizes"):
        check_base(read_lora(lora_shapes(4, 8, 12, 2), "a"), SIZES, "a", "b")


def test_a_lora_that_ends_early_is_refused():
    lora = read_lora(lora_shapes(2, 8, 12, 2), "file")
    with pytest.raises(CheckpointError, match=r"missing layers: 20 adapters, blocks 0 to 1 of the 3.*needs 30"):
        check_base(lora, SIZES, "file", "base")
    check_base(read_lora(lora_shapes(3, 8, 12, 2), "file"), SIZES, "file", "base")


def test_the_sum_is_the_references_in_float32():
    stored = load_file(DKT / "lora_linear.safetensors")
    weight, down, up = (stored[f"linear.{name}"] for name in ("base.weight", "lora_A", "lora_B"))
    torch.testing.assert_close(merged(weight, down, up), stored["linear.merged_fp32_alpha1.0"], rtol=0, atol=1e-6)
    half = merged(weight, down, 0.5 * up)
    torch.testing.assert_close(half, stored["linear.merged_fp32_alpha0.5"], rtol=0, atol=1e-6)


def test_bfloat16_weights_are_added_in_float32_and_rounded_once():
    stored = {name: torch.from_numpy(array) for name, array in np.load(DVD / "precision.npz").items()}
    weight, down, up = (stored[name].to(torch.bfloat16) for name in "WAB")
    ours = merged(weight, down, up)
    assert torch.equal(ours, stored["merged_fp32"])
    assert torch.equal(ours.to(torch.bfloat16).float(), stored["merged_fp32_then_bf16"])
    differ = (stored["merged_reference_bf16"] != stored["merged_fp32_then_bf16"]).float().mean()
    assert 0.1 < differ < 0.2  # the reference rounds the product too; documented, not imitated
    theirs = weight + (up.float() @ down.float()).to(torch.bfloat16)
    assert torch.equal(theirs.float(), stored["merged_reference_bf16"])


@pytest.mark.parametrize("alpha", [1.0, 0.5])
def test_the_references_bfloat16_sum_is_within_its_rounding(alpha):
    stored = load_file(DKT / "lora_linear.safetensors")
    weight, down, up = (stored[f"linear.{name}"].bfloat16() for name in ("base.weight", "lora_A", "lora_B"))
    ours, theirs = merged(weight, down, alpha * up), stored[f"linear.merged_bf16_alpha{alpha}"]
    product = alpha * up.float() @ down.float()
    assert ((ours - theirs).abs() <= 2.0**-8 * (product.abs() + ours.abs())).all()  # it rounds the product and the sum
