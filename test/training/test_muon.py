"""The optimiser: orthogonal updates for hidden matrices, and who counts as one."""

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("diffusers")

from dkt_ros.training.muon import HiddenMatrices, hidden_matrices, orthogonal  # noqa: E402
from test.engines.tiny import tiny_model  # noqa: E402


@pytest.mark.parametrize("shape", [(16, 16), (16, 48), (48, 16)])
def test_all_singular_values_become_about_one(shape):
    torch.manual_seed(1)
    values = torch.linalg.svdvals(orthogonal(torch.randn(shape) @ torch.diag(torch.logspace(-1, 0, shape[1]))))
    assert values.max() < 1.4 and values.median() > 0.5


def test_a_quadratic_is_minimised():
    torch.manual_seed(1)
    target, weight = torch.randn(24, 16), torch.nn.Parameter(torch.zeros(24, 16))
    optimiser = HiddenMatrices([weight], weight_decay=0.0)
    for step in range(200):
        for group in optimiser.param_groups:
            group["lr"] = 0.2 * (1 - step / 200)
        optimiser.zero_grad()
        (weight - target).square().sum().backward()
        optimiser.step()
    assert (weight - target).abs().mean() < 0.1 * target.abs().mean()


def test_only_the_weights_between_hidden_layers_are_taken():
    names = set(hidden_matrices(tiny_model()))
    assert "core.transformer.blocks.0.ffn.net.2.weight" in names
    assert not any(end in name for name in names for end in ("patch_embedding", "proj_out", "norm", "bias", "conv_in"))
