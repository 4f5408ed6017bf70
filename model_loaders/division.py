"""Names of a file → its components, by prefix (model_files.md section 3). No other module divides a file."""

from __future__ import annotations

from collections.abc import Iterable

from .packed_assets import is_asset

TRANSFORMER_PREFIXES = ("model.diffusion_model.", "diffusion_model.", "")
PATCHIFY = "patchify_proj.weight"
CONNECTORS = {"video_embeddings_connector.": "video_connector.", "audio_embeddings_connector.": "audio_connector."}
PROJECTION = "text_embedding_projection."
PROJECTIONS = ("aggregate_embed.", "video_aggregate_embed.", "audio_aggregate_embed.")  # in files of their own
STATISTICS = "per_channel_statistics."
ENCODER_PREFIXES = ("text_encoder.model.", "language_model.model.", "model.language_model.", "model.")
ENCODER_MARKERS = ("layers.47.self_attn.q_norm.weight", "layers.0.post_feedforward_layernorm.weight")
UPSCALER = ("initial_conv.weight", "final_conv.weight")

# prefix in the file → component; its keys lose the prefix. Tested with startswith, the first that fits.
BY_PREFIX = {
    "vae.encoder.": "video_vae_encoder",
    "vae.decoder.": "video_vae_decoder",
    "audio_vae.encoder.": "audio_vae_encoder",
    "audio_vae.decoder.": "audio_vae_decoder",
    "vocoder.": "vocoder",
    "duration_head.": "duration_head",
}
# stored once, needed by both halves of its VAE
SHARED = {
    f"vae.{STATISTICS}": ("vae.", ("video_vae_encoder", "video_vae_decoder")),
    f"audio_vae.{STATISTICS}": ("audio_vae.", ("audio_vae_encoder", "audio_vae_decoder")),
}
Components = dict[str, dict[str, str]]


def transformer_prefix(names: Iterable[str]) -> str | None:
    """What precedes a transformer's names; None where there is none."""
    known = frozenset(names)
    for prefix in TRANSFORMER_PREFIXES:
        if f"{prefix}{PATCHIFY}" in known or f"{prefix}audio_{PATCHIFY}" in known:
            return prefix
    return None


def divide(names: Iterable[str]) -> Components:
    """{component: {its own key: key in the file}}; keys of no component are left out.

    Connectors appear as `video_connector.…` and `audio_connector.…`, the text projection as `feature_extractor.…`.
    """
    names = [name for name in names if not is_asset(name)]
    prefix, encoder, upscaler = transformer_prefix(names), _encoder_prefix(names), set(UPSCALER) <= set(names)
    found: Components = {}
    for name in names:
        for component, key in _places(name, prefix, encoder, upscaler):
            found.setdefault(component, {})[key] = name
    for _, halves in SHARED.values():
        for half in halves:  # statistics alone make no VAE
            if half in found and not any(not key.startswith(STATISTICS) for key in found[half]):
                del found[half]
    return found


def _places(name: str, transformer: str | None, encoder: str | None, upscaler: bool) -> list[tuple[str, str]]:
    connector = _connector(name)
    if connector is not None:
        return [("connectors", connector)]
    if name.startswith(PROJECTION) or (name.startswith(PROJECTIONS) and transformer is None):
        return [("text_projection", f"feature_extractor.{name.removeprefix(PROJECTION)}")]
    for prefix, component in BY_PREFIX.items():
        if name.startswith(prefix):
            return [(component, name.removeprefix(prefix))]
    for prefix, (own, halves) in SHARED.items():
        if name.startswith(prefix):
            return [(half, name.removeprefix(own)) for half in halves]
    if transformer is not None and name.startswith(transformer) and not (encoder and name.startswith(encoder)):
        return [("transformer", name.removeprefix(transformer))]
    if encoder is not None and name.startswith(encoder):
        return [("text_encoder", name.removeprefix(encoder))]
    if upscaler:
        return [("latent_upsampler", name)]
    return _bare_video_vae(name)


def _connector(name: str) -> str | None:
    for prefix in TRANSFORMER_PREFIXES:
        for spelling, ours in CONNECTORS.items():
            if name.startswith(prefix + spelling):
                return ours + name.removeprefix(prefix + spelling)
    return None


def _bare_video_vae(name: str) -> list[tuple[str, str]]:
    """Files that hold nothing but a video VAE have no prefix."""
    for half in ("encoder", "decoder"):
        if name.startswith(f"{half}."):
            return [(f"video_vae_{half}", name.removeprefix(f"{half}."))]
    if name.startswith(STATISTICS):
        return [("video_vae_encoder", name), ("video_vae_decoder", name)]
    return []


def _encoder_prefix(names: list[str]) -> str | None:
    known = frozenset(names)
    for prefix in ENCODER_PREFIXES:
        if any(f"{prefix}{marker}" in known for marker in ENCODER_MARKERS):
            return prefix
    return None
