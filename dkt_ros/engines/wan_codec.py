"""The Wan video autoencoder as a stream: frames in, latents out, and back, in pieces or at once with one result.

Shapes: B clips, T = 4n+1 frames of (H, W) pixels, z latent channels, (h, w) = (H, W) / ``cell`` and
t = 1 + (T - 1) / ``group`` latent frames (cell 8, group 4 for the published codec). Latents are normalised: posterior
mean minus the codec's mean, divided by its standard deviation, per channel; float32. Video is float32 in [-1, 1].

diffusers' modules take the features that a causal convolution remembers as a list, and write the new ones into it. Here
every stream has a list of its own, so a codec has no state and threads may share it; no tensor in a list is ever
written into, so a copy of a stream costs nothing.

The networks' large pictures, before the encoder first halves their number and after the decoder last doubles it, pass
two frames at a time: nothing there looks at more than the two frames before, which are remembered anyway.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from diffusers import AutoencoderKLWan
from diffusers.models.autoencoders.autoencoder_kl_wan import WanResample, WanUpBlock, patchify, unpatchify
from torch import Tensor, nn

from dkt_ros.engines.video_codecs import Codec
from dkt_ros.engines.wan import CHUNK, check_grid
from dkt_ros.engines.wan_convolutions import Memory, lighter, remembering

#: Frames of a large picture that are in the works at once: as many as Winograd's convolution takes.
PAIR = 2


class WanCodec(Codec):
    """An ``AutoencoderKLWan`` of any size, for inference.

    On a GPU the networks work channels last. The first two pieces of a stream, whose memory is still filling, always
    run as they are; ``compiled`` concerns the steady piece (4 frames, or one latent frame), which is compiled once per
    picture size.

    Args:
        vae: the weights; moved to ``device`` and ``dtype`` and otherwise left as it is.
        device, dtype: where and in which precision the networks run; float32 or bfloat16.
        compiled: compile the steady piece with ``torch.compile``.
        limit: decoded values beyond +-limit are cut off; 1 as published.
    """

    def __init__(
        self,
        vae: AutoencoderKLWan,
        device: torch.device | str,
        dtype: torch.dtype,
        compiled: bool = False,
        limit: float = 1.0,
    ) -> None:
        self.device, self.dtype = torch.device(device), dtype
        self.limit = limit
        # The class has a `to` of its own that warns about modules to keep in float32, of which it has none.
        net: Any = vae
        module: Any = nn.Module.to(net, device=self.device, dtype=dtype).eval().requires_grad_(False)
        sizes = module.config
        self.patch = int(sizes.patch_size or 1)
        self.cell = int(2 ** (len(sizes.dim_mult) - 1) * self.patch)
        self.group = int(2 ** sum(sizes.temperal_downsample))
        self.z_dim = int(sizes.z_dim)
        self.channels_last = self.device.type == "cuda"
        self._mean = self._per_channel(sizes.latents_mean)
        self._std = self._per_channel(sizes.latents_std)
        self._quant, self._post_quant = module.quant_conv, module.post_quant_conv
        self.encode_piece = _Piece(lighter(module.encoder, self.channels_last), _encoding, compiled)
        self.decode_piece = _Piece(lighter(module.decoder, self.channels_last), _decoding, compiled)
        self._slots = dict(module._cached_conv_counts)

    def encoder(self) -> EncoderStream:
        """A new stream of frames."""
        return EncoderStream(self, [None] * self._slots["encoder"])

    def decoder(self) -> DecoderStream:
        """A new stream of latents."""
        return DecoderStream(self, [None] * self._slots["decoder"])

    def first_frame(self, latents: Tensor) -> Tensor:
        """(B, z, t, h, w) -> (B, 3, 1, H, W): the frame of the first latent, with gradients to it, for training."""
        memory: Memory = [None] * self._slots["decoder"]
        return self.finish_video(self.decode_piece(self.prepare_latents(latents[:, :, :1]), memory, 0))

    def prepare_video(self, video: Tensor) -> Tensor:
        """As the encoder network wants it."""
        given = video.to(self.device, self.dtype)
        return self._laid_out(patchify(given, self.patch))

    def prepare_latents(self, latents: Tensor) -> Tensor:
        """As the decoder network wants them."""
        raw = latents.to(self.device, torch.float32) * self._std + self._mean
        return self._laid_out(self._post_quant(raw.to(self.dtype)))

    def finish_latents(self, moments: Tensor) -> Tensor:
        """The encoder network's output -> normalised posterior mean."""
        return (self._quant(moments)[:, : self.z_dim].float() - self._mean) / self._std

    def finish_video(self, decoded: Tensor) -> Tensor:
        """The decoder network's output -> video."""
        return unpatchify(decoded.float(), self.patch).clamp(-self.limit, self.limit)

    def _laid_out(self, x: Tensor) -> Tensor:
        form = torch.channels_last_3d if self.channels_last else torch.contiguous_format
        return x.contiguous(memory_format=form)

    def _per_channel(self, values: Any) -> Tensor:
        return torch.tensor(values, dtype=torch.float32, device=self.device).view(1, -1, 1, 1, 1)


class EncoderStream:
    """Frames of one recording, oldest first, each encoded once."""

    def __init__(self, codec: WanCodec, memory: Memory, pieces: int = 0) -> None:
        self._codec, self._memory, self._pieces = codec, memory, pieces

    @torch.no_grad()
    def push(self, video: Tensor) -> Tensor:
        """(B, 3, n, H, W) -> the latents of these frames, (B, z, k, h, w): exactly what one call for all would give.

        Raises:
            ValueError: the first n is not 4m+1, a later one is not a multiple of 4, or a side is off the grid.
        """
        codec, frames = self._codec, video.shape[2]
        check_grid(frames if not self._pieces else frames + 1, video.shape[3], video.shape[4], codec.cell)
        sizes = [CHUNK] * (frames // CHUNK) if self._pieces else [1] + [CHUNK] * (frames // CHUNK)
        latents = []
        for piece in video.split(sizes, dim=2):
            out = codec.encode_piece(codec.prepare_video(piece), self._memory, self._pieces)
            self._pieces += 1
            latents.append(codec.finish_latents(out))
        return torch.cat(latents, dim=2)

    def copy(self) -> EncoderStream:
        """A stream that goes on from here on its own; the remembered tensors are shared."""
        return EncoderStream(self._codec, list(self._memory), self._pieces)


class DecoderStream:
    """Latents of one recording, oldest first, each decoded once."""

    def __init__(self, codec: WanCodec, memory: Memory, pieces: int = 0) -> None:
        self._codec, self._memory, self._pieces = codec, memory, pieces

    @torch.no_grad()
    def push(self, latents: Tensor) -> Tensor:
        """(B, z, k, h, w) -> their frames (B, 3, n, H, W): 1 of the stream's first latent, ``group`` of each other."""
        codec = self._codec
        if latents.ndim != 5 or latents.shape[1] != codec.z_dim or not latents.shape[2]:
            raise ValueError(f"latents of shape {tuple(latents.shape)}: need (clips, {codec.z_dim}, 1 or more, h, w)")
        frames = []
        for latent in latents.split(1, dim=2):
            piece = codec.prepare_latents(latent)
            out = codec.decode_piece(piece, self._memory, self._pieces)
            self._pieces += 1
            frames.append(codec.finish_video(out))
        return torch.cat(frames, dim=2)

    def copy(self) -> DecoderStream:
        """A stream that goes on from here on its own; the remembered tensors are shared."""
        return DecoderStream(self._codec, list(self._memory), self._pieces)


#: (input, memory, whether it is a stream's first piece) -> output.
_Run = Callable[[Tensor, Memory, bool], Tensor]


class _Piece:
    """One call of a causal network: (input, memory, how many pieces came before) -> output; updates the list."""

    #: Pieces until every convolution remembers as much as it ever will.
    FILLING = 2

    def __init__(self, net: Any, way: Callable[[Any], _Run], compiled: bool) -> None:
        self.net = net
        self._run = way(net)
        self._steady: _Run = torch.compile(self._run, dynamic=False) if compiled else self._run

    def __call__(self, x: Tensor, memory: Memory, earlier: int) -> Tensor:
        run = self._run if earlier < self.FILLING else self._steady
        # Changed in place, so that an old feature is freed when its successor is there.
        return run(x, memory, not earlier)


def _encoding(net: Any) -> _Run:
    """``WanEncoder3d``, in pairs as far as the first layer that makes one frame of two."""
    blocks = list(net.down_blocks)
    halving = [index for index, block in enumerate(blocks) if _resamples(block, "downsample3d")]
    large = halving[0] + 1 if halving else len(blocks)

    def run(x: Tensor, memory: Memory, first: bool) -> Tensor:
        slot, pairs = [0], []
        # A copy, for the memory keeps it and the frames may be the caller's.
        y = remembering(net.conv_in, x.clone(), memory, slot)
        start = slot[0]
        for pair in y.split(PAIR, dim=2):
            slot = [start]
            for block in blocks[:large]:
                pair = block(pair, feat_cache=memory, feat_idx=slot)
            pairs.append(pair)
        y = torch.cat(pairs, dim=2)
        for block in (*blocks[large:], net.mid_block):
            y = block(y, feat_cache=memory, feat_idx=slot)
        return _head(net, y, memory, slot)

    return run


def _decoding(net: Any) -> _Run:
    """``WanDecoder3d``, in pairs after the last block that makes two frames of one; its last layer in float32."""
    net.conv_out = _Wide(net.conv_out)
    blocks = list(net.up_blocks)
    doubling = [index for index, block in enumerate(blocks) if _resamples(block, "upsample3d")]
    small = doubling[-1] + 1 if doubling else 0
    # A block's own layers, for a call of the block would hold its input until the end.
    large = [
        layer
        for block in blocks[small:]
        for layer in ((*block.resnets, *(block.upsamplers or ())) if isinstance(block, WanUpBlock) else (block,))
    ]

    def run(x: Tensor, memory: Memory, first: bool) -> Tensor:
        slot, pairs = [0], []
        y = net.mid_block(remembering(net.conv_in, x, memory, slot), feat_cache=memory, feat_idx=slot)
        for block in blocks[:small]:
            y = block(y, feat_cache=memory, feat_idx=slot, first_chunk=first)
        start = slot[0]
        for pair in y.split(PAIR, dim=2):
            slot = [start]
            for layer in large:
                pair = layer(pair, feat_cache=memory, feat_idx=slot)
            pairs.append(_head(net, pair, memory, slot))
        return torch.cat(pairs, dim=2)

    return run


def _head(net: Any, x: Tensor, memory: Memory, slot: list[int]) -> Tensor:
    return remembering(net.conv_out, F.silu(net.norm_out(x), inplace=True), memory, slot)


class _Wide(nn.Module):
    """A convolution in float32 of features in less, which are remembered as they are.

    A bfloat16 picture has 256 to 512 levels: disparity far away would come in bands.
    """

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = copy.deepcopy(layer).float()

    def forward(self, x: Tensor, before: Tensor | None) -> Tensor:
        out: Tensor = self.layer(x.float(), None if before is None else before.float())
        return out


def _resamples(block: Any, mode: str) -> bool:
    return any(isinstance(each, WanResample) and each.mode == mode for each in block.modules())
