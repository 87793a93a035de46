"""A small stand-in for the Wan video autoencoder: TAEHV, by Ollin Boer Bohan, as published for Wan 2.1 (``taew2_1``).

About a twentieth of the operations, at a loss of detail. It reads and writes the transformer's normalised latents
themselves: no mean, no standard deviation. Pictures are in [0, 1] inside and in [-1, 1] at this module's doors, as
everywhere else. Shapes are those of ``wan_codec``: B clips, T = 4n+1 frames, t = n+1 latent frames, 8 pixels a cell.

Where the facts come from: its public description (value ranges, layer kinds, widths and key names, what is trimmed). A
mirror of ``taew2_1.safetensors`` states 128 tensors of float16 in 22,642,902 bytes; this layout, written to a file, has
as many of both. **No published file was opened here.** What that leaves open:

* A file of another shape is refused: every key and shape must agree with this layout. Not refused is the file for
  Hunyuan Video, whose layout is the same and whose latents are others; only the file's hash tells them apart.
* Quality on depth is unmeasured. The encoder's latents are the transformer's input, which was trained on the full
  codec's; replacing the decoder alone is the safer half.
* Frames and latents. The published encoder takes groups of 4 frames, and fills the last one by repeating the last
  frame; of 4n+1 frames each latent but the last has thus seen 3 frames beyond those that it stands for. A
  stream cannot wait for them. Here latent i is what the published rule gives as the **last** latent of frames 0 to 4i,
  in a stream as well as in one call: it costs every group twice, and the two rules agree on the last latent only.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from dkt_ros.engines.tiny_autoencoder import Remembering, TinyAutoencoder
from dkt_ros.engines.video_codecs import Codec
from dkt_ros.engines.wan import CHUNK, check_grid

#: What the remembering layers hold of the frame before, oldest layer first; None before the first frame.
_Memory = tuple[Tensor | None, ...]
#: (frames of B clips after one another, B, memory) -> (the same of the output, new memory)
_Network = Callable[[Tensor, int, _Memory], tuple[Tensor, _Memory]]
CELL = 8


class TinyCodec(Codec):
    """A ``TinyAutoencoder`` behind the doors of ``wan_codec.WanCodec``: encode, decode, and both as streams.

    The frames of one latent always run together and alone, however many are pushed, so that a stream and one call do
    the same arithmetic. The last layer runs in float32 whatever ``dtype``: bfloat16 would show as bands in depth.

    Args:
        model: the weights; moved to ``device`` and ``dtype``.
        device, dtype: where and in which precision the networks run; float32 or bfloat16.
        compiled: compile both networks with ``torch.compile``.
    """

    def __init__(
        self, model: TinyAutoencoder, device: torch.device | str, dtype: torch.dtype, compiled: bool = False
    ) -> None:
        self.device, self.dtype = torch.device(device), dtype
        self.cell, self.group, self.z_dim = CELL, CHUNK, model.sizes.latent
        form = torch.channels_last if self.device.type == "cuda" else torch.contiguous_format
        model.to(device=self.device, dtype=dtype, memory_format=form)  # type: ignore[call-overload]
        model.decoder[-1].float()
        self._form = form
        self._encode, self._decode = _runner(model.encoder, compiled), _runner(model.decoder, compiled)
        self._nothing = tuple(
            (None,) * sum(isinstance(layer, Remembering) for layer in layers)
            for layers in (model.encoder, model.decoder)
        )

    def encoder(self) -> TinyEncoderStream:
        """A new stream of frames."""
        return TinyEncoderStream(self, self._nothing[0])

    def decoder(self) -> TinyDecoderStream:
        """A new stream of latents."""
        return TinyDecoderStream(self, self._nothing[1])

    def encode_group(self, video: Tensor, memory: _Memory) -> tuple[Tensor, _Memory]:
        """(B, 3, 4, H, W) -> (B, z, 1, h, w), and the memory for the next group."""
        return self._run(self._encode, (video.to(self.device) + 1) / 2, memory)

    def decode_latent(self, latent: Tensor, memory: _Memory) -> tuple[Tensor, _Memory]:
        """(B, z, 1, h, w) -> (B, 3, 4, H, W), and the memory for the next one."""
        frames, memory = self._run(self._decode, latent.to(self.device), memory)
        return frames.clamp(0, 1) * 2 - 1, memory

    def _run(self, network: _Network, x: Tensor, memory: _Memory) -> tuple[Tensor, _Memory]:
        flat = x.transpose(1, 2).flatten(0, 1).to(self.dtype).contiguous(memory_format=self._form)
        out, memory = network(flat, x.shape[0], memory)
        return out.float().unflatten(0, (x.shape[0], -1)).transpose(1, 2), memory


class TinyEncoderStream:
    """Frames of one recording, oldest first."""

    def __init__(self, codec: TinyCodec, memory: _Memory, last: Tensor | None = None) -> None:
        self._codec, self._memory, self._last = codec, memory, last

    @torch.no_grad()
    def push(self, video: Tensor) -> Tensor:
        """(B, 3, n, H, W) -> the latents of these frames, (B, z, k, h, w): exactly what one call for all would give.

        Raises:
            ValueError: the first n is not 4m+1, a later one is not a multiple of 4, or a side is off the grid.
        """
        frames = video.shape[2]
        check_grid(frames if self._last is None else frames + 1, video.shape[3], video.shape[4], CELL)
        known = video if self._last is None else torch.cat([self._last.to(video), video], dim=2)
        latents = [] if self._last is not None else [self._latent(known[:, :, :1])]
        for start in range(0, known.shape[2] - CHUNK, CHUNK):
            _, self._memory = self._codec.encode_group(known[:, :, start : start + CHUNK], self._memory)
            latents.append(self._latent(known[:, :, start + CHUNK : start + CHUNK + 1]))
        self._last = known[:, :, -1:].clone()
        return torch.cat(latents, dim=2)

    def _latent(self, frame: Tensor) -> Tensor:
        return self._codec.encode_group(frame.expand(-1, -1, CHUNK, -1, -1), self._memory)[0]

    def copy(self) -> TinyEncoderStream:
        """A stream that goes on from here on its own; the remembered tensors are shared."""
        return TinyEncoderStream(self._codec, self._memory, self._last)


class TinyDecoderStream:
    """Latents of one recording, oldest first."""

    def __init__(self, codec: TinyCodec, memory: _Memory, starts: bool = True) -> None:
        self._codec, self._memory, self._starts = codec, memory, starts

    @torch.no_grad()
    def push(self, latents: Tensor) -> Tensor:
        """(B, z, k, h, w) -> their frames (B, 3, n, H, W): 1 for the first latent of the stream, 4 for the others.

        Raises:
            ValueError: not latents of this codec.
        """
        if latents.ndim != 5 or latents.shape[1] != self._codec.z_dim or not latents.shape[2]:
            raise ValueError(
                f"latents of shape {tuple(latents.shape)}: need (clips, {self._codec.z_dim}, 1 or more, h, w)"
            )
        frames = []
        for latent in latents.split(1, dim=2):
            decoded, self._memory = self._codec.decode_latent(latent, self._memory)
            frames.append(decoded[:, :, CHUNK - 1 :] if self._starts else decoded)
            self._starts = False
        return torch.cat(frames, dim=2)

    def copy(self) -> TinyDecoderStream:
        """A stream that goes on from here on its own; the remembered tensors are shared."""
        return TinyDecoderStream(self._codec, self._memory, self._starts)


def _runner(layers: nn.ModuleList, compiled: bool) -> _Network:
    def run(x: Tensor, clips: int, memory: _Memory) -> tuple[Tensor, _Memory]:
        kept: list[Tensor | None] = []
        for layer in layers:
            if isinstance(layer, Remembering):
                own = x.unflatten(0, (clips, -1))
                before = memory[len(kept)]
                first = torch.zeros_like(own[:, :1]) if before is None else before
                kept.append(own[:, -1:].clone())
                x = layer(x, torch.cat([first, own[:, :-1]], dim=1).flatten(0, 1))
            else:
                x = layer(x.to(layer.weight.dtype) if isinstance(layer, nn.Conv2d) else x)
        return x, tuple(kept)

    return torch.compile(run, dynamic=False) if compiled else run
