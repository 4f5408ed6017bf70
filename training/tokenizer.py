"""The embedded model's own small tokenizer: byte-pair encoding with byte fallback, in the manner of Gemma's."""

from __future__ import annotations

from collections.abc import Iterable

from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

SPECIAL = ("<pad>", "<eos>", "<bos>", "<unk>")  # ids 0 to 3, as in Gemma
BYTES = tuple(f"<0x{value:02X}>" for value in range(256))
SPACE = "\u2581"


def make_tokenizer(texts: Iterable[str], *, vocabulary: int, max_length: int) -> str:
    """The text of a tokenizer.json trained on `texts`: at most `vocabulary` pieces, bos in front, cut at `max_length`.

    Any text can be encoded: what no piece covers falls back to bytes.
    """
    tokenizer = Tokenizer(models.BPE(byte_fallback=True, unk_token="<unk>"))
    tokenizer.normalizer = normalizers.Replace(" ", SPACE)
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(SPACE), behavior="merged_with_next")
    tokenizer.decoder = decoders.Sequence([decoders.Replace(SPACE, " "), decoders.ByteFallback(), decoders.Fuse()])
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary, special_tokens=[*SPECIAL, *BYTES], show_progress=False, initial_alphabet=[SPACE]
    )
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<bos> $A", pair="<bos> $A <bos> $B", special_tokens=[("<bos>", 2)]
    )
    tokenizer.enable_truncation(max_length=max_length)
    return str(tokenizer.to_str())
