"""Statistics of the latents, and a cache of latents and captions for the transformer.

The video latents of the first cache are the linear codec's: the encoder is trained to give the same ones, the codec is
twenty times faster, and a transformer needs many clips more than exact ones. A second, smaller one holds the trained
encoder's own, for the end of the training: those are what a given picture is encoded to.
"""

# N clips, C latent channels, F latent frames, T audio latent frames, f latent bins
from __future__ import annotations

import torch
from torch import Tensor

from ...networks.audio_vae import AudioEncoder, log_mel
from ...networks.video_vae.encoder import VideoEncoder
from ..embedded_config import Sizes
from ..linear_codec import LinearCodec
from ..store import Store
from ..world import Clip, make_clip, sample_scene
from .parts import build, trained
from .video_codec import load_codec
from .video_data import CLIP_FRAMES, SIDE

STATISTICS, CACHE, OWN = "statistics", "latents", "own_latents"
SHARD = 250
SHARDS, OWN_SHARDS = 72, 20
MEAN, STD = "mean-of-means", "std-of-means"


def measure_statistics(sizes: Sizes, store: Store, *, clips: int = 96) -> None:
    """Mean and deviation of every video channel, and of every audio channel and bin, over generated clips."""
    codec, encoder = load_codec(store), _audio_encoder(sizes, store)
    pairs = [encode_clip(make_clip(sample_scene(seed), frames=CLIP_FRAMES), codec, encoder) for seed in range(clips)]
    video, audio = (torch.cat(parts) for parts in zip(*pairs, strict=True))
    store.save(
        STATISTICS,
        {
            f"video {MEAN}": video.mean(dim=(0, 2, 3, 4)),
            f"video {STD}": video.std(dim=(0, 2, 3, 4)),
            f"audio {MEAN}": audio.mean(dim=(0, 2)).flatten(),
            f"audio {STD}": audio.std(dim=(0, 2)).flatten(),
        },
    )
    first, rest = video[:, :, 0].std(), video[:, :, 1:].std()
    store.log(STATISTICS, f"spread of video latents: first frame {first:.3f}, others {rest:.3f}")


def fill_cache(sizes: Sizes, store: Store, *, shards: int = SHARDS, size: int = SHARD) -> None:
    """Normalised latents of `shards` times `size` clips, a file a shard; those that exist are kept."""
    trained(store, STATISTICS, STATISTICS)
    codec, encoder, statistics = load_codec(store), _audio_encoder(sizes, store), store.load(STATISTICS)
    for shard in range(shards):
        name = f"cache/{shard:03}"
        if not store.has(name):
            store.save(name, _shard(range(shard * size, (shard + 1) * size), codec, encoder, statistics))
    store.save(CACHE, {"shards": torch.tensor(shards)})
    store.log(CACHE, f"{shards * size} clips")


@torch.no_grad()
def fill_own_cache(sizes: Sizes, store: Store, *, shards: int = OWN_SHARDS) -> None:
    """The first shards of the cache with the video encoder's latents in place of the codec's."""
    trained(store, CACHE, CACHE)
    trained(store, "video_encoder", "video_joint")
    encoder = build(VideoEncoder, "video_encoder", sizes, store).eval()
    statistics = store.load(STATISTICS)
    for shard in range(shards):
        name = f"own/{shard:03}"
        if not store.has(name):
            cached = store.load(f"cache/{shard:03}")
            clips = (make_clip(sample_scene(int(seed)), frames=CLIP_FRAMES) for seed in cached["seeds"])
            with torch.autocast("cpu", dtype=torch.bfloat16):  # as it was trained
                latents = torch.cat([encoder.encode(clip.video[None]).float() for clip in clips])
            store.save(name, cached | {"video": normalised(latents, statistics, "video").half()})
    store.save(OWN, {"shards": torch.tensor(shards)})
    store.log(OWN, f"{shards} shards")


def load_cache(store: Store) -> dict[str, Tensor]:
    """video (N, C, F, H', W') and audio (N, C, T, f) float16; seeds (N,): their captions are those of their scenes.

    The encoder's own latents once they are there.
    """
    trained(store, CACHE, CACHE)
    folder, made = ("own", OWN) if store.has(OWN) else ("cache", CACHE)
    shards = [store.load(f"{folder}/{shard:03}") for shard in range(int(store.load(made)["shards"]))]
    return {key: torch.cat([shard[key] for shard in shards]) for key in shards[0]}


@torch.no_grad()
def encode_clip(clip: Clip, codec: LinearCodec, encoder: AudioEncoder) -> tuple[Tensor, Tensor]:
    """Video and audio latents (1, …) in the VAEs' own units."""
    return codec.encode(clip.video[None]), encoder(log_mel(clip.waveform[None]))


def normalised(latent: Tensor, statistics: dict[str, Tensor], modality: str) -> Tensor:
    """(latent - mean) / deviation of "video" (B, C, F, H, W) or "audio" (B, C, T, f)."""
    shape = (1, -1, 1, 1, 1) if modality == "video" else (1, latent.shape[1], 1, latent.shape[3])
    mean, std = (statistics[f"{modality} {name}"].reshape(shape) for name in (MEAN, STD))
    return (latent - mean) / std


def _shard(seeds: range, codec: LinearCodec, encoder: AudioEncoder, statistics: dict[str, Tensor]) -> dict[str, Tensor]:
    clips = (make_clip(sample_scene(seed), frames=CLIP_FRAMES, height=SIDE, width=SIDE) for seed in seeds)
    video, audio = (torch.cat(parts) for parts in zip(*(encode_clip(c, codec, encoder) for c in clips), strict=True))
    return {
        "video": normalised(video, statistics, "video").half(),
        "audio": normalised(audio, statistics, "audio").half(),
        "seeds": torch.tensor(list(seeds)),
    }


def _audio_encoder(sizes: Sizes, store: Store) -> AudioEncoder:
    trained(store, "audio_encoder", "audio_vae")
    return build(AudioEncoder, "audio_encoder", sizes, store).eval().requires_grad_(False)
