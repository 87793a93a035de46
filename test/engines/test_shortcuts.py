"""The rewritten layers compute what diffusers computes."""

import copy

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("diffusers")

from diffusers import AutoencoderKLWan, WanTransformer3DModel  # noqa: E402

from dkt_ros.engines.shortcuts import take_shortcuts  # noqa: E402
from test.engines.tiny import SIZES  # noqa: E402


@pytest.fixture(scope="module")
def pair():
    torch.manual_seed(2)
    codec = AutoencoderKLWan(**copy.deepcopy(SIZES["codec"])).eval()
    transformer = WanTransformer3DModel(**copy.deepcopy(SIZES["transformer"])).eval()
    faster = copy.deepcopy((codec, transformer))
    take_shortcuts(*faster)
    return (codec, transformer), faster


@pytest.mark.parametrize("frames", [1, 5, 9])
def test_the_codec_is_the_same(pair, frames):
    video = torch.rand(1, 3, frames, 16, 24, generator=torch.Generator().manual_seed(frames)) * 2 - 1
    (slow, _), (fast, _) = pair
    with torch.no_grad():
        expected = slow.encode(video).latent_dist.mode()
        torch.testing.assert_close(fast.encode(video).latent_dist.mode(), expected, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(fast.decode(expected).sample, slow.decode(expected).sample, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("tokens", [1, 3])
def test_the_transformer_is_the_same(pair, tokens):
    generator = torch.Generator().manual_seed(tokens)
    latents = torch.randn(2, 12, 3, 2, 4, generator=generator)
    prompt = torch.randn(2, tokens, 8, generator=generator)
    time = torch.tensor([1000.0, 250.0])
    (_, slow), (_, fast) = pair
    with torch.no_grad():
        expected = slow(latents, time, prompt).sample
        torch.testing.assert_close(fast(latents, time, prompt).sample, expected, rtol=1e-4, atol=1e-5)


def test_a_padded_frame_of_zeros_is_not_divided_by_its_norm(pair):
    (slow, _), (fast, _) = pair
    with torch.no_grad():
        answer = fast.encode(torch.zeros(1, 3, 1, 16, 16)).latent_dist.mode()
        expected = slow.encode(torch.zeros(1, 3, 1, 16, 16)).latent_dist.mode()
    torch.testing.assert_close(answer, expected, rtol=1e-4, atol=1e-5)
