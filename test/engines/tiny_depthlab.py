"""DepthLab in its published layout at a ten-thousandth of its size, with random weights, as files."""

import json

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from safetensors.torch import save_file

TOKEN = 24
UNET = {
    "block_out_channels": (32, 32, 64, 64), "attention_head_dim": (1, 1, 2, 2), "cross_attention_dim": TOKEN,
    "use_linear_projection": True, "layers_per_block": 2,
}  # fmt: skip
PUBLISHED_UNET = {
    "block_out_channels": (320, 640, 1280, 1280), "attention_head_dim": (5, 10, 20, 20), "cross_attention_dim": 1024,
    "use_linear_projection": True, "layers_per_block": 2,
}  # fmt: skip
OUTPUT_KEYS = {"conv_norm_out.weight", "conv_norm_out.bias", "conv_out.weight", "conv_out.bias"}
LEVELS = 4


def unet(channels, seed, sizes=UNET):
    torch.manual_seed(seed)
    return UNet2DConditionModel(in_channels=channels, out_channels=4, **sizes).eval().requires_grad_(False)


def vae():
    torch.manual_seed(5)
    down, up = ("DownEncoderBlock2D",) * LEVELS, ("UpDecoderBlock2D",) * LEVELS
    sizes = {"down_block_types": down, "up_block_types": up, "block_out_channels": (32, 32, 32, 32)}
    return AutoencoderKL(**sizes, layers_per_block=1, latent_channels=4).eval().requires_grad_(False)


def clip():
    from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

    torch.manual_seed(6)
    sizes = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4}
    config = CLIPVisionConfig(**sizes, image_size=28, patch_size=7, projection_dim=TOKEN, hidden_act="gelu")
    return CLIPVisionModelWithProjection(config).eval().requires_grad_(False)


def save_depthlab(folder, old_names=False):
    """Write the five parts; ``old_names`` gives the VAE's attention its names of before 2023."""
    heads = {"config": json.dumps({"attention_head_dim": UNET["attention_head_dim"]})}
    save_file(unet(12, 2).state_dict(), folder / "denoising_unet.safetensors", heads)
    reference = {name: tensor for name, tensor in unet(4, 3).state_dict().items() if name not in OUTPUT_KEYS}
    save_file(reference, folder / "reference_unet.safetensors", heads)
    torch.manual_seed(4)
    layer = torch.nn.Linear(TOKEN, TOKEN)
    mapping = {"mapping_layer.weight": layer.weight.data, "mapping_layer.bias": layer.bias.data}
    save_file(mapping, folder / "mapping_layer.safetensors")
    for part, model in (("vae", vae()), ("image_encoder", clip())):
        (folder / part).mkdir()
        tensors = model.state_dict()
        if old_names and part == "vae":
            for new, old in {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}.items():
                new, old = f"attentions.0.{new}.", f"attentions.0.{old}."
                tensors = {name.replace(new, old): tensor for name, tensor in tensors.items()}
        if part == "image_encoder":  # the published file is the whole CLIP
            tensors |= {"text_model.final_layer_norm.weight": torch.ones(8), "logit_scale": torch.ones(())}
        save_file(tensors, folder / part / "model.safetensors")
    said = {"model_type": "clip", "vision_config": {"num_attention_heads": 4, "hidden_act": "gelu"}}
    (folder / "image_encoder" / "config.json").write_text(json.dumps(said))
    return folder
