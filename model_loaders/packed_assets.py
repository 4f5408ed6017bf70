"""Side files that a packed text encoder carries as byte tensors or as metadata (model_files.md section 4)."""

from __future__ import annotations

from .checkpoint import Checkpoint, CheckpointError

TOKENIZER, ASSET = "tokenizer_json", "hf_asset__"
SPIECE = "spiece_model"  # the bytes of a SentencePiece model: no text
SIDE_FILES = (".json", ".jinja")


def is_asset(name: str) -> bool:
    """Whether a tensor holds a file and no weight."""
    return name in (TOKENIZER, SPIECE) or name.startswith(ASSET)


def packed_assets(file: Checkpoint) -> dict[str, str]:
    """{file name: text}. Raises CheckpointError for bytes that are no UTF-8."""
    import torch

    assets = {name: text for name, text in file.metadata.items() if name.endswith(SIDE_FILES)}
    names = [name for name in file.entries if is_asset(name) and name != SPIECE]
    for name, data in file.load(names).items():
        try:
            text = data.to(torch.uint8).numpy().tobytes().decode("utf-8")
        except UnicodeDecodeError as error:
            raise CheckpointError(
                f"{file.path}: tensor {name}: expected UTF-8 text; download the file again"
            ) from error
        assets["tokenizer.json" if name == TOKENIZER else name.removeprefix(ASSET)] = text
    return assets
