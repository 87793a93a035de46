"""A completion network small enough for a test: the bundled one's classes at a hundredth of its size."""

SIZES = {
    "codec": {
        "base_dim": 8, "z_dim": 4, "dim_mult": [1, 2, 2], "num_res_blocks": 1, "temperal_downsample": [True, True],
        "patch_size": 2, "in_channels": 12, "out_channels": 12,
    },
    "transformer": {
        "patch_size": [1, 1, 1], "num_attention_heads": 2, "attention_head_dim": 12, "ffn_dim": 32, "num_layers": 1,
        "in_channels": 12, "out_channels": 8, "text_dim": 8,
    },
}  # fmt: skip


def tiny_model():
    import torch

    from dkt_ros.engines.completion_model import CompletionModel
    from dkt_ros.engines.wan import WanSizes

    torch.manual_seed(1)
    return CompletionModel(WanSizes(**SIZES)).eval()
