"""Which file this is, beside Wan's: DepthLab's networks, image models, small codecs, prompts, our own. No torch."""

from __future__ import annotations

from dkt_ros.engines.headers import Header, key_shape_md5
from dkt_ros.engines.roles import Layout

PROMPT_FORMAT = "dkt_ros prompt 1"
#: ``key_shape_md5`` of the UMT5-XXL encoder under the reference's names, and under those of transformers.
TEXT_ENCODER = ("9c8818c2cbea55eca56c7b447df170da", "1663aabb1c900fdd416fe4bf56cd0a1b")


def identify_completion(header: Header) -> Layout | None:
    if not any(name.startswith("core.codec.") for name in header.shapes):
        return None
    config = header.config()
    words = f"a depth completion network of this package, {header.values / 1e6:.1f} million values"
    return Layout("completion", "completion", words, config.get("sizes", {}), md5=key_shape_md5(header.shapes))


def identify_prompt(header: Header) -> Layout | None:
    if header.metadata.get("format") != PROMPT_FORMAT and set(header.shapes) != {"rows"}:
        return None
    text, md5 = header.metadata.get("text", ""), key_shape_md5(header.shapes)
    rows = header.shapes.get("rows", ())
    refusal = ""
    if header.metadata.get("format") != PROMPT_FORMAT or not text or len(rows) != 2 or len(header.shapes) != 1:
        refusal = f"{header.path}: not a prompt embedding of this package; make it with 'dkt models embed-prompt'"
    sizes = {"rows": rows[0], "text_dim": rows[1], "text": text} if len(rows) == 2 else {}
    return Layout("prompt", f"prompt-{text}", f"the embedding of the prompt {text!r}", sizes, False, md5, refusal)


def identify_depthlab(header: Header) -> Layout | None:
    """One of DepthLab's three networks, or a UNet that is not."""
    shapes, path = header.shapes, header.path
    md5 = key_shape_md5(shapes)
    if set(shapes) == {"mapping_layer.weight", "mapping_layer.bias"}:
        width = shapes["mapping_layer.weight"][0]
        square = shapes["mapping_layer.weight"] == (width, width) and shapes["mapping_layer.bias"] == (width,)
        refusal = "" if square else f"{path}: a mapping layer that is not square; fetch mapping_layer of DepthLab again"
        words = f"DepthLab's mapping layer, {width} wide"
        return Layout("depthlab mapping", "depthlab-mapping", words, {"width": width}, width == 1024, md5, refusal)
    first = shapes.get("conv_in.weight", ())
    if len(first) != 4 or not {"time_embedding.linear_1.weight", "mid_block.resnets.0.conv1.weight"} <= shapes.keys():
        return None
    ends = {"conv_norm_out.weight", "conv_norm_out.bias", "conv_out.weight", "conv_out.bias"} & set(shapes)
    widths = [shapes.get(f"down_blocks.{i}.resnets.0.conv1.weight", (0,))[0] for i in range(8)]
    token = shapes.get("mid_block.attentions.0.transformer_blocks.0.attn2.to_k.weight", (0, 0))[1]
    sizes = {"widths": [width for width in widths if width], "in_channels": first[1], "token": token}
    shape = f"{first[0]} wide, {first[1]} channels in, {header.values / 1e6:.2f} million values"
    if first[1] == 12 and len(ends) == 4:
        return Layout(
            *("depthlab denoiser", "depthlab-denoiser", f"DepthLab's denoising UNet: {shape}"),
            *(sizes, first[0] == 320 and len(shapes) == 686, md5),
        )
    if first[1] == 4 and not ends:
        return Layout(
            *("depthlab reference", "depthlab-reference", f"DepthLab's reference UNet: {shape}"),
            *(sizes, first[0] == 320 and len(shapes) == 682, md5),
        )
    refusal = f"{path}: a UNet that is not DepthLab's ({first[1]} channels in); give denoising_unet and reference_unet"
    return Layout("unknown", "unet-other", f"a UNet that is not DepthLab's: {shape}", sizes, False, md5, refusal)


def identify_image_model(header: Header) -> Layout | None:
    """An image autoencoder (AutoencoderKL), or a CLIP with an image half."""
    shapes, md5 = header.shapes, key_shape_md5(header.shapes)
    first, moments = shapes.get("encoder.conv_in.weight", ()), shapes.get("quant_conv.weight", ())
    if len(first) == 4 and len(moments) == 4:
        z, size = moments[0] // 2, f"{header.values / 1e6:.2f} million values"
        words, published = f"an image autoencoder, {z} latent channels, {size}", len(shapes) == 248 and first[0] == 128
        other = f"{header.path}: {words}; DepthLab's has 4: give that of prs-eth/marigold-depth-v1-0"
        return Layout(
            *("image vae", "autoencoder-kl", words, {"z_dim": z, "base_dim": first[0]}, published and z == 4, md5),
            refusal="" if z == 4 else other,
        )
    patches = shapes.get("vision_model.embeddings.patch_embedding.weight")
    if patches and "visual_projection.weight" in shapes:
        width, out = patches[0], shapes["visual_projection.weight"][0]
        words, sizes = f"a CLIP image encoder, {width} wide, {out} out", {"width": width, "projection": out}
        return Layout("image encoder", "clip-vision", words, sizes, (width, out) == (1280, 1024), md5)
    return None


def identify_text_encoder(header: Header) -> Layout | None:
    """A text encoder: needed once to embed a prompt, or not at all."""
    shapes, md5 = header.shapes, key_shape_md5(header.shapes)
    refusal = ""
    if any(name.startswith("text_model.") for name in shapes):
        words, name = "a CLIP text encoder", "clip-text"
        refusal = f"{header.path}: a CLIP text encoder, which no engine here needs"
    elif "token_embedding.weight" in shapes and "blocks.0.attn.q.weight" in shapes:
        words, name = "a UMT5 text encoder (needed only by 'dkt models embed-prompt')", "umt5"
    elif "encoder.block.0.layer.0.SelfAttention.q.weight" in shapes:
        words, name = "a UMT5 text encoder (needed only by 'dkt models embed-prompt')", "umt5-transformers"
    else:
        return None
    return Layout("text encoder", name, words, {}, md5 in TEXT_ENCODER, md5, refusal)


def identify_tiny_codec(header: Header) -> Layout | None:
    """A small codec in TAEHV's layout. The one for Hunyuan's latents has the same names and shapes as Wan 2.1's."""
    shapes, path = header.shapes, header.path
    if not {"decoder.22.bias", "encoder.17.weight", "encoder.0.weight"} <= shapes.keys():
        return None
    md5, words, refusal = key_shape_md5(shapes), "a small video codec in TAEHV's layout", ""
    if shapes["encoder.0.weight"][1:2] != (3,) or shapes.get("decoder.1.weight", (0, 0))[1] != 16:
        words += " for another latent space"
        refusal = f"{path}: {words} (taew2_2 or taehv1_5); give taew2_1.safetensors"
    else:
        words += " (taew2_1, or one with the same shapes)"
    return Layout("tiny codec", "taew2_1", words, {}, False, md5, refusal)
