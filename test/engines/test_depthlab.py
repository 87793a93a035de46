"""DepthLab as an engine: two stock networks and their joint, the published sampler, files, and one frame."""

import shutil

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("diffusers")
pytest.importorskip("scipy")
pytest.importorskip("transformers")

from diffusers import AutoencoderKL, UNet2DConditionModel  # noqa: E402
from diffusers.models.attention_processor import AttnProcessor2_0  # noqa: E402
from safetensors.torch import load_file, save_file  # noqa: E402

from dkt_ros.engines import EngineOptions, depthlab, depthlab_networks, load_engine  # noqa: E402
from dkt_ros.engines.checkpoints import CheckpointError  # noqa: E402
from dkt_ros.engines.depthlab_attention import Pair  # noqa: E402
from dkt_ros.engines.depthlab_prepare import DepthLabSettings  # noqa: E402
from dkt_ros.engines.headers import Header  # noqa: E402
from dkt_ros.frames import Clip, Frame  # noqa: E402
from dkt_ros.perception import Perception, PerceptionSettings  # noqa: E402
from test.engines.tiny_depthlab import OUTPUT_KEYS, PUBLISHED_UNET, TOKEN, save_depthlab, unet, vae  # noqa: E402


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return save_depthlab(tmp_path_factory.mktemp("depthlab"))


@pytest.fixture(scope="module")
def engine(folder):
    loaded = load_engine("depthlab", EngineOptions(weights=folder, steps=4, device="cpu"))
    loaded.settings = DepthLabSettings(steps=4, processing_res=64)
    return loaded


def frame_of(width=64, height=48, hole=True, seed=1):
    rng = np.random.default_rng(seed)
    depth = np.linspace(0.6, 1.8, width, dtype=np.float32) + np.linspace(0, 0.4, height, dtype=np.float32)[:, None]
    if hole:
        depth[height // 4 : height // 2, width // 4 : width // 2] = np.nan
    return Frame(0, "camera", rng.integers(0, 255, (height, width, 3), dtype=np.uint8), None, depth)


def numbers(*shape, seed=1):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


class ReadsInOneHalf:
    """The published formulation: a batch of two, whose second half alone sees what the reference network saw."""

    def __init__(self, kept):
        self.kept, self.attend = kept, AttnProcessor2_0()

    def __call__(self, attn, hidden_states, *rest, **options):
        without, with_reference = hidden_states.chunk(2)
        own = self.attend(attn, without, without)
        both = self.attend(attn, with_reference, torch.cat([with_reference, self.kept.chunk(2)[1]], dim=1))
        return torch.cat([own, both])


def published_guidance(reference, denoiser, picture, latents, time, empty, token):
    """One step with guidance at 1 and both halves computed."""
    tokens, seen, hooks = torch.cat([empty, token]), {}, []
    for name, module in reference.named_modules():
        if name.endswith(".attn1"):
            keep = lambda m, given, options, name=name: seen.update({name: given[0]})  # noqa: E731
            hooks.append(module.register_forward_pre_hook(keep, with_kwargs=True))
    reference(picture.repeat(2, 1, 1, 1), 0, tokens)
    for hook in hooks:
        hook.remove()
    processors = {
        name: ReadsInOneHalf(seen[name.removesuffix(".processor")]) if ".attn1." in name else AttnProcessor2_0()
        for name in denoiser.attn_processors
    }
    denoiser.set_attn_processor(processors)
    without, with_reference = denoiser(latents.repeat(2, 1, 1, 1), time, tokens, return_dict=False)[0].chunk(2)
    return without + 1.0 * (with_reference - without), len(seen)


@pytest.mark.parametrize("kind, tolerance", [(torch.float32, 2e-6), (torch.float64, 1e-13)])
def test_the_joined_networks_equal_the_published_guidances_half_that_is_kept(kind, tolerance):
    picture, latents = numbers(1, 4, 32, 24).to(kind), numbers(1, 12, 32, 24, seed=2).to(kind)
    token, empty = numbers(1, 1, TOKEN, seed=3).to(kind), numbers(1, 1, TOKEN, seed=4).to(kind)
    reference, denoiser = unet(4, 3).to(kind), unet(12, 2).to(kind)
    with torch.no_grad():
        theirs, layers = published_guidance(reference, denoiser, picture, latents, 781, empty, token)
        other, _ = published_guidance(reference, denoiser, picture, latents, 781, empty * 5, token)
        pair = Pair(reference, denoiser)
        pair.look(picture, token)
        ours = pair.denoise(latents, 781, token)
        pair.look(numbers(1, 4, 32, 24, seed=9).to(kind), token)
        elsewhere = pair.denoise(latents, 781, token)
    assert layers == pair.layers == 16
    assert (ours - theirs).abs().max() <= tolerance
    assert (other - theirs).abs().max() <= tolerance, "the half that is thrown away changes nothing"
    assert (ours - elsewhere).abs().max() > 1e-3, "but the picture does"


def test_networks_of_two_models_do_not_join_and_nothing_is_denoised_unseen():
    with pytest.raises(ValueError, match="layers"):
        Pair(unet(4, 3, {**PUBLISHED_UNET, "block_out_channels": (32, 64), "attention_head_dim": (1, 1),
                         "down_block_types": ("CrossAttnDownBlock2D", "DownBlock2D"), "cross_attention_dim": TOKEN,
                         "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D")}), unet(12, 2))  # fmt: skip
    with pytest.raises(ValueError, match="call look first"):
        Pair(unet(4, 3), unet(12, 2)).denoise(numbers(1, 12, 8, 8), 1, numbers(1, 1, TOKEN))


def test_the_full_size_has_the_published_tensors():
    with torch.device("meta"):
        denoiser = UNet2DConditionModel(in_channels=12, out_channels=4, **PUBLISHED_UNET)
        reference = UNet2DConditionModel(in_channels=4, out_channels=4, **PUBLISHED_UNET)
    own = {name: tensor for name, tensor in reference.state_dict().items() if name not in OUTPUT_KEYS}
    assert (len(denoiser.state_dict()), len(own)) == (686, 682)
    assert round(sum(t.numel() for t in denoiser.state_dict().values()) / 1e6, 2) == 865.93
    assert round(sum(t.numel() for t in own.values()) / 1e6, 2) == 865.90
    assert denoiser.conv_in.weight.shape == (320, 12, 3, 3) and reference.conv_in.weight.shape == (320, 4, 3, 3)


def shapes_of(module, *without):
    return {name: tuple(t.shape) for name, t in module.state_dict().items() if name not in without}


def test_the_sizes_of_the_published_models_show_in_their_tensors(tmp_path):
    from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

    clip_h = CLIPVisionConfig(hidden_size=1280, intermediate_size=5120, num_hidden_layers=32, num_attention_heads=16,
                              projection_dim=1024, patch_size=14, image_size=224, hidden_act="gelu")  # fmt: skip
    with torch.device("meta"):
        stock = UNet2DConditionModel(in_channels=4, out_channels=4, **PUBLISHED_UNET)
        types = {"down_block_types": ("DownEncoderBlock2D",) * 4, "up_block_types": ("UpDecoderBlock2D",) * 4}
        image_vae = AutoencoderKL(**types, block_out_channels=(128, 256, 512, 512), layers_per_block=2)
        encoder = CLIPVisionModelWithProjection(clip_h)
        headers = [
            Header(tmp_path / "x", (), shapes=shapes)
            for shapes in (shapes_of(stock, *OUTPUT_KEYS), shapes_of(image_vae), shapes_of(encoder))
        ]
        reference = depthlab_networks._unet_without_output(headers[0])
        ours = depthlab_networks._image_vae(headers[1]), depthlab_networks._image_encoder(headers[2])
    assert shapes_of(reference) == headers[0].shapes
    assert [m.heads for n, m in reference.named_modules() if n.endswith("attn1")] == (
        [5, 5, 10, 10, 20, 20] + [20] * 3 + [10] * 3 + [5] * 3 + [20]
    )
    assert (shapes_of(ours[0]), len(headers[1].shapes)) == (headers[1].shapes, 248)
    assert shapes_of(ours[1]) == headers[2].shapes
    assert ours[1].config.to_diff_dict() == clip_h.to_diff_dict()


def test_sampling_starts_at_781_and_takes_40_of_50_steps():
    times = depthlab.start_times(depthlab.scheduler(), 50, 0.8)
    assert (len(times), int(times[0]), int(times[-1])) == (40, 781, 1)
    whole = depthlab.start_times(depthlab.scheduler(), 50, 1.0)
    assert (len(whole), int(whole[0])) == (50, 981)
    signal = depthlab.scheduler().alphas_cumprod[781] ** 0.5
    assert float(signal) == pytest.approx(0.208, abs=5e-4)


def test_a_frame_is_completed_in_metres_at_its_own_size(engine):
    frame = frame_of()
    prediction = engine.predict(Clip((frame,)))
    assert prediction.kind == "metric" and prediction.normals is None and prediction.same_units
    assert prediction.disparity.shape == (1, 48, 64) and prediction.disparity.dtype == np.float32
    assert np.isfinite(prediction.disparity).all() and (prediction.disparity > 0).all()
    np.testing.assert_array_equal(engine.predict(Clip((frame,))).disparity, prediction.disparity)


@pytest.mark.parametrize("width, height", [(48, 64), (61, 47), (50, 90), (100, 30)])
def test_portrait_and_odd_sizes(engine, width, height):
    disparity = engine.predict(Clip((frame_of(width, height),))).disparity
    assert disparity.shape == (1, height, width) and np.isfinite(disparity).all()


def test_a_longer_clip_foreign_trust_and_nothing_known_are_refused(engine):
    frame = frame_of()
    nothing = np.zeros((1, 48, 64), np.float32)
    blind = Frame(0, "", frame.rgb, None, None)
    empty = Frame(0, "", frame.rgb, None, np.full((48, 64), np.nan, np.float32))
    with pytest.raises(ValueError, match="a clip of 5 frames"):
        engine.predict(Clip((frame,) * 5))
    with pytest.raises(ValueError, match="trust"):
        engine.predict(Clip((frame,)), nothing[:, :10])
    with pytest.raises(ValueError, match=r"without sensor depth.*give a depth topic"):
        engine.predict(Clip((blind,)))
    with pytest.raises(ValueError, match=r"without one known pixel \(0 returns"):
        engine.predict(Clip((empty,)))
    with pytest.raises(ValueError, match=r"\(2880 returns, none believed\)"):
        engine.predict(Clip((frame,)), nothing)


def test_untrusted_depth_is_as_good_as_none(engine):
    holed, whole = frame_of(hole=True), frame_of(hole=False)
    trust = np.isfinite(holed.sensor_depth).astype(np.float32)[None] * 0.8
    ours = engine.predict(Clip((whole,)), trust + 0.2 * (1 - trust))
    np.testing.assert_array_equal(ours.disparity, engine.predict(Clip((holed,))).disparity)


class Cells:
    """A codec without loss for pictures that are even on cells of 8x8: four latent channels of the cell's value."""

    def encode(self, picture, return_dict):
        mean = torch.nn.functional.avg_pool2d(picture.mean(dim=1, keepdim=True), 8).expand(-1, 4, -1, -1)
        return (type("Posterior", (), {"mean": mean}),)

    def decode(self, latent, return_dict):
        return (latent.mean(dim=1, keepdim=True).repeat_interleave(8, 2).repeat_interleave(8, 3).expand(-1, 3, -1, -1),)


class Knows:
    """A denoiser that answers with the velocity toward the masked depth it is given."""

    def __init__(self):
        self.alphas = depthlab.scheduler().alphas_cumprod
        self.reference = self.denoiser = None
        self.seen = []

    def look(self, picture, token):
        self.seen.append(picture)

    def denoise(self, given, time, token):
        noisy, mask, goal = given.chunk(3, dim=1)
        self.seen.append(mask)
        alpha = self.alphas[time]
        return (alpha**0.5 * noisy - goal) / (1 - alpha) ** 0.5

    def forget(self):
        pass


def toy_engine(folder, **settings):
    engine = depthlab.load(EngineOptions(weights=folder, device="cpu"))
    networks = depthlab.Networks(Knows(), engine._networks.mapping, Cells(), engine._networks.encoder)
    return depthlab.DepthLabEngine(networks, DepthLabSettings(processing_res=64, **settings), torch.device("cpu"))


def even_frame():
    cells = np.random.default_rng(3).uniform(0.5, 2.0, (6, 8)).astype(np.float32)
    depth = cells.repeat(8, 0).repeat(8, 1)
    return Frame(0, "", np.full((48, 64, 3), 77, np.uint8), None, depth)


@pytest.mark.parametrize("settings", [{}, {"strength": 1.0}, {"normalize_scale": 0.6}, {"steps": 10}])
def test_with_a_network_that_is_right_the_metres_are_right_but_for_the_samplers_last_noise(folder, settings):
    engine, frame = toy_engine(folder, **settings), even_frame()
    depth = 1 / engine.predict(Clip((frame,))).disparity[0]
    beta, known = engine.settings.normalize_scale, frame.sensor_depth[::8, ::8]
    low, span = known.min(), known.max() - known.min() + 1e-6
    goal = ((known - low) / span - 0.5) * 2 * beta * depthlab.LATENT_SCALE
    # DDIM keeps to one direction, and ends at the alpha of time 0, not at 1: a little noise stays, as published.
    noise = torch.randn((1, 4, 6, 8), generator=torch.Generator().manual_seed(1)).mean(dim=1)[0].numpy()
    if "strength" in settings:
        alpha = float(depthlab.scheduler().alphas_cumprod[981])
        noise = (noise - alpha**0.5 * goal) / (1 - alpha) ** 0.5
    alpha = float(depthlab.scheduler().alphas_cumprod[0])
    end = (alpha**0.5 * goal + (1 - alpha) ** 0.5 * noise) / depthlab.LATENT_SCALE
    expected = (end / (2 * beta) + 0.5) * span + low
    np.testing.assert_allclose(depth[::8, ::8], np.maximum(expected, 1e-3), rtol=2e-4, atol=2e-4)


def test_the_networks_see_picture_and_mask_as_published(folder):
    engine, frame = toy_engine(folder, steps=2), even_frame()
    frame.sensor_depth[:8, :16] = np.nan
    engine.predict(Clip((frame,)))
    picture, mask = engine._networks.pair.seen[:2]
    assert torch.allclose(picture, torch.full((1, 4, 6, 8), (77 / 127.5 - 1) * 0.18215), atol=1e-6)
    wanted = -torch.ones(6, 8)
    wanted[0, :2] = 1
    assert torch.allclose(mask[0, 0], wanted * 0.18215, atol=1e-6), "1 (white) where depth is to be predicted"


def test_blending_holds_the_known_region_at_its_start(folder):
    frame = even_frame()
    frame.sensor_depth[:24, :32] = np.nan
    free, held = toy_engine(folder), toy_engine(folder, blend=True)
    for engine in (free, held):
        engine._networks.pair.denoise = lambda given, time, token: torch.zeros_like(given[:, :4])
    known = np.isfinite(frame.sensor_depth)
    depths = [1 / engine.predict(Clip((frame,))).disparity[0] for engine in (free, held)]
    np.testing.assert_allclose(depths[1][known], frame.sensor_depth[known], rtol=1e-4)
    assert np.abs(depths[0][known] - frame.sensor_depth[known]).max() > 0.1


def test_short_memory_costs_resolution_and_then_the_networks_places(folder):
    engine = depthlab.load(EngineOptions(weights=folder, device="cpu"))
    engine.settings = DepthLabSettings(steps=2, fill="push-pull")
    assert engine.smaller() == "works at 576 pixels a side at most instead of 768"
    assert [engine.smaller() is None for _ in range(4)] == [False, False, True, True]
    assert engine._longest == depthlab.SMALLEST
    assert engine.predict(Clip((frame_of(640, 480),))).disparity.shape == (1, 480, 640)
    whole = engine.predict(Clip((frame_of(),))).disparity
    engine._offloads = True
    np.testing.assert_array_equal(engine.predict(Clip((frame_of(),))).disparity, whole)


def test_clips_preprocessing_cuts_the_middle_out():
    rgb = np.zeros((60, 120, 3), np.uint8)
    rgb[:, 30:90] = 255
    picture = depthlab.clip_picture(rgb, 28)
    assert picture.shape == (1, 3, 28, 28)
    white = (1 - depthlab.CLIP_MEAN) / depthlab.CLIP_STD
    np.testing.assert_allclose(picture[0, :, 14, 14], white, rtol=1e-5)
    assert (picture[0, :, :, 2:-2] == picture[0, :, :1, 14:15]).all(), "the black sides are gone"
    assert depthlab.clip_picture(rgb.transpose(1, 0, 2), 28).shape == (1, 3, 28, 28)


def test_clips_preprocessing_is_transformers_own():
    processing = pytest.importorskip("transformers.models.clip.image_processing_pil_clip")
    theirs = processing.CLIPImageProcessorPil(size={"shortest_edge": 28}, crop_size={"height": 28, "width": 28})
    for shape in ((45, 71, 3), (90, 28, 3), (28, 28, 3)):
        rgb = np.random.default_rng(1).integers(0, 255, shape, dtype=np.uint8)
        pixels = theirs(rgb, return_tensors="np", input_data_format="channels_last")["pixel_values"][0]
        np.testing.assert_allclose(depthlab.clip_picture(rgb, 28)[0], pixels, atol=1e-5)


def test_the_whole_path_takes_it(engine):
    path = Perception(engine, PerceptionSettings(clip_length=1, overlap=0))
    (estimate,) = path.process(Clip((frame_of(),)))
    assert estimate.depth is not None and estimate.fit.accepted
    known = np.isfinite(frame_of().sensor_depth)
    near = np.abs(estimate.depth - frame_of().sensor_depth)[known]
    assert np.median(near) < 1e-3, "fusion puts back what the sensor saw"


def test_old_names_in_the_vae_are_known(folder, tmp_path):
    old = save_depthlab(tmp_path, old_names=True)
    file = old / "vae" / "model.safetensors"
    assert "encoder.mid_block.attentions.0.query.weight" in load_file(file)
    loaded = depthlab.load_image_vae(file, torch.float32, torch.device("cpu")).state_dict()
    for name, tensor in vae().state_dict().items():
        assert torch.equal(loaded[name], tensor), name


WIDER_MAPPING = {"mapping_layer.weight": torch.zeros(32, 32), "mapping_layer.bias": torch.zeros(32)}


@pytest.mark.parametrize(
    "part, change, words",
    [
        ("reference_unet", {"mid_block.resnets.0.norm1.bias": None}, "1 missing"),
        ("denoising_unet", {"conv_in.bias": torch.zeros(31)}, "1 of another shape"),
        ("mapping_layer", {"mapping_layer.bias": None}, "lacks the depthlab mapping"),
        ("mapping_layer", {"mapping_layer.bias": torch.zeros(32)}, "not square"),
        ("mapping_layer", WIDER_MAPPING, "mixed sizes"),
        ("vae/model", {"quant_conv.weight": torch.zeros(32, 32, 1, 1)}, "16 latent channels.*DepthLab's has 4"),
    ],
)
def test_damaged_parts_are_refused_in_words(folder, tmp_path, part, change, words):
    shutil.copytree(folder, tmp_path / "copy")
    file = tmp_path / "copy" / f"{part}.safetensors"
    tensors = {name: tensor for name, tensor in {**load_file(file), **change}.items() if tensor is not None}
    save_file(tensors, file, {"config": '{"attention_head_dim": [1, 1, 2, 2]}'})
    with pytest.raises(CheckpointError, match=words):
        depthlab.load(EngineOptions(weights=tmp_path / "copy", device="cpu"))


def test_the_image_vae_of_another_model_is_refused_by_its_configuration(folder, tmp_path):
    shutil.copytree(folder, tmp_path / "copy")
    said = tmp_path / "copy" / "vae" / "config.json"
    said.write_text('{"_class_name": "AutoencoderKL", "scaling_factor": 0.18215}')
    depthlab.load(EngineOptions(weights=tmp_path / "copy", device="cpu"))
    said.write_text('{"_class_name": "AutoencoderKL", "scaling_factor": 0.13025}')
    with pytest.raises(CheckpointError, match=r"scaling_factor 0.13025, DepthLab's is 0.18215.*marigold"):
        depthlab.load(EngineOptions(weights=tmp_path / "copy", device="cpu"))


def test_pickles_are_answered_with_the_command_that_converts_them(folder, tmp_path):
    shutil.copytree(folder, tmp_path / "copy")
    (tmp_path / "copy" / "denoising_unet.safetensors").unlink()
    torch.save({"conv_in.weight": torch.zeros(1)}, tmp_path / "copy" / "denoising_unet.pth")
    with pytest.raises(CheckpointError, match=r"convert it: python3 -c .*denoising_unet\.pth"):
        depthlab.load(EngineOptions(weights=tmp_path / "copy", device="cpu"))


def test_a_tiny_model_that_does_not_say_its_heads_is_refused(folder, tmp_path):
    shutil.copytree(folder, tmp_path / "copy")
    file = tmp_path / "copy" / "reference_unet.safetensors"
    save_file(load_file(file), file)
    with pytest.raises(CheckpointError, match="num_attention_heads"):
        depthlab.load(EngineOptions(weights=tmp_path / "copy", device="cpu"))


def test_options_that_mean_nothing_here_are_refused(folder):
    with pytest.raises(ValueError, match="--weights DIR"):
        load_engine("depthlab")
    for name, value in {"profile": "reference", "mode": "single", "vae": "tiny", "stitching": "v1.0"}.items():
        with pytest.raises(ValueError, match=f"{name} = {value}: engine 'depthlab' has no such choice"):
            load_engine("depthlab", EngineOptions(weights=folder, **{name: value}))
    with pytest.raises(ValueError, match="steps = 0"):
        load_engine("depthlab", EngineOptions(weights=folder, steps=0))
