"""What a live clip buffer hands out (overlap that varies, padding) is what engines that keep latents can follow."""

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("diffusers")

from diffusers import AutoencoderKLWan  # noqa: E402

from dkt_ros.clips import ClipBuffer  # noqa: E402
from dkt_ros.engines.latent_stream import LatentStream  # noqa: E402
from dkt_ros.engines.wan_codec import WanCodec  # noqa: E402
from test.engines.test_latent_stream import Encoding, recording  # noqa: E402

#: How many frames come before each look, and how long that takes, s.
SLOW, BURSTS, FAST = [(1, 1.0)] * 12, [(4, 0.1), (7, 0.9), (2, 0.9), (13, 0.1), (1, 0.9), (5, 0.9)], [(9, 0.1)] * 5


@pytest.mark.parametrize("mode", ["streaming", "latest"])
@pytest.mark.parametrize("coming", [SLOW, BURSTS, FAST], ids=["slow", "bursts", "fast"])
def test_every_live_clip_is_encoded_and_decoded(mode, coming):
    torch.manual_seed(0)
    sizes = {"base_dim": 4, "z_dim": 4, "dim_mult": [1, 2, 2], "num_res_blocks": 1}
    scaling = {"latents_mean": [0.0] * 4, "latents_std": [1.0] * 4}
    codec = WanCodec(AutoencoderKLWan(**sizes, temperal_downsample=[True, True], **scaling), "cpu", torch.float32)
    stream, asked = LatentStream(codec), Encoding()
    buffer = ClipBuffer(13, 5, capacity=1, whole_groups=True, mode=mode, max_age_s=1.0)
    frames, now, clips = iter(recording(sum(count for count, _ in coming))), 0.0, []
    for count, seconds in coming:
        for _ in range(count):
            buffer.push(next(frames), now)
        now += seconds
        while clip := buffer.take(now):
            latents = stream.latents(clip, asked)
            assert stream.decode(latents).shape[2] == len(clip.frames) == 13
            assert torch.isfinite(latents).all()
            clips.append(clip)
    assert len(clips) >= 3 and not any(clip.starts for clip in clips[1:])
