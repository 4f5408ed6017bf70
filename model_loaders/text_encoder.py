"""Text encoder and LTX checkpoint → one handle that turns a prompt into conditioning (text.md sections 0 to 7)."""

from __future__ import annotations

import os
import warnings
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import nn

from ..networks.operations import Operations, torch_operations
from ..networks.text.connector import Connector, Connectors
from ..networks.text.features import SeparateProjection, SharedProjection
from ..networks.text.gemma import GemmaDecoder
from ..networks.text.gemma3 import Gemma3
from ..networks.text.gemma4 import Gemma4
from ..networks.text.gemma_config import GemmaConfig
from .checkpoint import Checkpoint, CheckpointError
from .detection import detect_checkpoint
from .encoder_files import EncoderFiles, find_encoder
from .gemma_config import gemma3_config, gemma4_config
from .generations import version_numbers
from .quantisation.weights import plain_weights
from .stored import assemble_kept
from .text_conditioning import ConditioningCache, TextConditioning
from .text_projection import (
    Modality,
    find_connector,
    find_projection,
    generation,
    load_connector,
    load_projection,
    source_gemma_version,
)
from .tokenizer import MAX_TOKENS, PromptTokenizer

ENCODER_2_5 = "gemma4-12b-ltx-v1"
LAYERS = "layers."
# What the parts of a text encoder are called where all of their layers are listed.
DECODER, PROJECTION, CONNECTOR = "text_encoder.", "text_embedding_projection.", "{}_embeddings_connector."
MODALITIES: tuple[Modality, ...] = ("video", "audio")
DECLARES_ENCODER = (2, 4, 0)  # from this model version on a checkpoint names its encoder


@dataclass(kw_only=True)
class TextEncoder:
    """Tokenizer, decoder, projection and connectors of one model; encodes one prompt at a time, without padding.

    identity: of the files that the weights came from, for the keys of `cache`.
    """

    generation: str
    tokenizer: PromptTokenizer
    decoder: GemmaDecoder
    projection: SharedProjection | SeparateProjection
    video_connector: Connector
    audio_connector: Connector
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    identity: Hashable = ()
    cache: ConditioningCache = field(default_factory=ConditioningCache)

    @property
    def length(self) -> int:
        """Positions of a context: the longest prompt, rounded up to a multiple of the registers."""
        registers = self.video_connector.config.num_registers
        return -(-self.tokenizer.max_length // registers) * registers

    @property
    def moving(self) -> tuple[nn.Module, ...]:
        """What computes: all but the embedding table, whose rows are looked up where it lies."""
        own = self.decoder
        return own.layers, own.norm, self.projection, self.video_connector, self.audio_connector

    def to(self, device: torch.device | str | None = None, dtype: torch.dtype | None = None) -> TextEncoder:
        """Cast everything and move what computes; the embedding table stays where it is (rows are looked up there)."""
        self.decoder.embed_tokens.to(dtype=dtype)
        for module in self.moving:
            module.to(device=device, dtype=dtype)
        self.device = self.device if device is None else torch.device(device)
        return self

    def tokenize(self, prompt: str) -> list[int]:
        """Ids of the stripped prompt, bos first, no padding; warns when the prompt is cut."""
        return self.tokenizer(prompt)

    def encode(self, prompt: str) -> TextConditioning:
        """Contexts of a prompt, on self.device, in the dtype of the weights. The empty prompt is allowed.

        The last prompts are remembered: nothing is computed for them.
        """
        ids = self.tokenize(prompt)
        found = self.cache.get(self._key(ids), self.device)
        if found is None:
            found = self.encode_ids(ids)
            self.cache.put(self._key(ids), found)
        return found

    def remembered(self, prompt: str, device: torch.device) -> TextConditioning | None:
        """Contexts of a prompt that was encoded before, on `device`; the weights are not touched."""
        return self.cache.get(self._key(self.tokenize(prompt)), device)

    def _key(self, ids: Sequence[int]) -> Hashable:
        networks = (self.decoder, self.projection, self.video_connector, self.audio_connector)
        dtypes = tuple(next(network.parameters()).dtype for network in networks)
        return self.identity, dtypes, self.length, tuple(ids)

    @torch.inference_mode()
    def encode_ids(self, ids: Sequence[int]) -> TextConditioning:
        """Contexts of token ids: bos first, at most self.length of them."""
        tokens = torch.tensor([list(ids)], device=self.device)  # 1 T
        mask = torch.ones_like(tokens)
        video, audio = self.projection(self.decoder.hidden_states(tokens), mask)
        dtype = self.video_connector.learnable_registers.dtype  # encoder and checkpoint need not be of one precision
        return TextConditioning(
            video_context=self.video_connector(video.to(dtype), mask, length=self.length),
            audio_context=self.audio_connector(audio.to(dtype), mask, length=self.length),
        )


def load_text_encoder(
    encoder_path: str | os.PathLike[str] | None,
    checkpoint: Checkpoint,
    *,
    extra_files: Sequence[Checkpoint] = (),
    operations: Operations = torch_operations,
    cache: ConditioningCache | None = None,
) -> TextEncoder:
    """The text encoder that belongs to an LTX checkpoint.

    encoder_path: a Hugging Face folder (or one above it), a single file, or None when `checkpoint` holds the encoder
    itself. operations: of the decoder and the connectors; the projection, whose weight is read in parts, has torch's.
    extra_files: where the user keeps projection or connectors apart from both. cache: of contexts, to be
    shared by several encoders or by one that is loaded again; None: one of its own.
    Quantised linear layers keep their weights in stored form and dequantise them in each call, where `operations` are
    torch's; embedding and projection, and everything in a host's layers, become plain.
    Raises CheckpointError, one line, for missing or incomplete files and for an encoder that the checkpoint was not
    trained with.
    """
    encoder = find_encoder(checkpoint.path if encoder_path is None else Path(encoder_path))
    files = (checkpoint, *extra_files, *encoder.files)
    refuse_other_encoder(encoder, checkpoint)
    tokenizer = encoder.tokenizer()  # before the weights: a missing tokenizer shows at once
    config = decoder_config(encoder)
    projection = load_projection(files, hidden_size=config.hidden_size, num_states=config.num_states)
    return TextEncoder(
        generation=generation(checkpoint, files),
        tokenizer=tokenizer,
        decoder=load_decoder(encoder, operations=operations),
        projection=projection,
        video_connector=load_connector(files, "video", operations=operations),
        audio_connector=load_connector(files, "audio", operations=operations),
        identity=tuple(identity_of(file.path) for file in files),
        cache=ConditioningCache() if cache is None else cache,
    )


def load_connectors(checkpoint: Checkpoint, *, operations: Operations = torch_operations) -> Connectors:
    """Both connectors of an LTX file, for features of its text encoder that come without them.

    Contexts have the length of the encoder that the file holds itself, or the published one.
    Raises CheckpointError for a file without connectors.
    """
    video, audio = (load_connector((checkpoint,), modality, operations=operations) for modality in MODALITIES)
    try:
        positions = find_encoder(checkpoint.path).tokenizer().max_length
    except CheckpointError:
        positions = MAX_TOKENS
    return Connectors(video, audio, positions=positions)


def load_decoder(encoder: EncoderFiles, *, operations: Operations = torch_operations) -> GemmaDecoder:
    """The text decoder of an encoder, Gemma 3 or Gemma 4; plain tensors stay memory-mapped until first use.

    Raises CheckpointError for quantisation that cannot be read, and tensors that are not those of the configuration.
    """
    config = decoder_config(encoder)
    network = Gemma4 if encoder.is_gemma4 else Gemma3
    by_file = [
        (file, {n: key for n, (owner, key) in encoder.tensors.items() if owner is file}) for file in encoder.files
    ]
    return assemble_kept(
        lambda chosen: network(config, operations=chosen),
        [plain_weights(file, tensors) for file, tensors in by_file],
        operations=operations,
        below=LAYERS,
        what="text encoder",
    )


def decoder_config(encoder: EncoderFiles) -> GemmaConfig:
    return gemma4_config(encoder.config) if encoder.is_gemma4 else gemma3_config(encoder.config)


def check_text(
    encoder_path: str | os.PathLike[str] | None, checkpoint: Checkpoint, extra_files: Sequence[Checkpoint] = ()
) -> frozenset[str]:
    """The names of all parameters; refuses what `load_text_encoder` would, as far as headers tell: at once instead of
    at the first prompt."""
    encoder = find_encoder(checkpoint.path if encoder_path is None else Path(encoder_path))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # loading says it again
        refuse_other_encoder(encoder, checkpoint)
    files = (checkpoint, *extra_files, *encoder.files)
    names = {f"{DECODER}{name}" for name in encoder.tensors}
    names |= {f"{PROJECTION}{name}" for name in find_projection(files).tensors}
    for modality in MODALITIES:
        names |= {f"{CONNECTOR.format(modality)}{name}" for name in find_connector(files, modality).tensors}
    encoder.refuse_missing_tokenizer()
    return frozenset(names)


def refuse_other_encoder(encoder: EncoderFiles, checkpoint: Checkpoint) -> None:
    """Raise CheckpointError when the checkpoint was trained with another encoder (text.md section 1.5)."""
    expected = source_gemma_version(checkpoint) or _encoder_by_tensors(checkpoint)
    found = encoder.gemma_version
    if expected is not None:
        if found != expected:
            raise CheckpointError(
                f"{encoder.path}: {checkpoint.path.name} expects the text encoder {expected}, found "
                f"{found or encoder.model_type}; download {expected}"
            )
    elif version_numbers(checkpoint.metadata) >= DECLARES_ENCODER:
        undeclared = f"{checkpoint.path}: expected the metadata entry 'gemma_source_checkpoint', found none"
        if found is not None:
            raise CheckpointError(f"{undeclared}, while the encoder is {found}; download the checkpoint again")
        warnings.warn(f"{undeclared}; cannot tell whether the text encoder fits", stacklevel=3)
    elif encoder.model_type != "gemma3":
        raise CheckpointError(
            f"{encoder.path}: {checkpoint.path.name} expects the text encoder gemma3, found {encoder.model_type}; "
            "use Gemma 3 12B with LTX-2 and LTX-2.3"
        )


def _encoder_by_tensors(checkpoint: Checkpoint) -> str | None:
    """Files without metadata (GGUF, repacks) tell LTX-2.5 by their tensors, and it has one encoder only."""
    undeclared = not version_numbers(checkpoint.metadata) and detect_checkpoint(checkpoint).generation == "2.5"
    return ENCODER_2_5 if undeclared else None


def identity_of(path: Path) -> Hashable:
    """Of a file's content, as far as its place, size and time tell."""
    status = path.stat()
    return str(path.resolve()), status.st_size, status.st_mtime_ns
