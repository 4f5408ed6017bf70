"""Half a published transformer: names, shapes and counts of the page, from the whole file's header."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Literal

import pytest

from openltx.model_loaders.assemble import build_on_meta
from openltx.model_loaders.checkpoint import Checkpoint, CheckpointError, TensorEntry
from openltx.model_loaders.one_stream import of_stream
from openltx.model_loaders.transformer import transformer_config, transformer_tensors
from openltx.networks.transformer import Transformer

MANIFESTS = Path(__file__).resolve().parents[2] / "shared" / "manifests"
FILES = {"2": "ltx-2-19b", "2.3": "ltx-2.3-22b", "2.5": "ltx-2.5-22b"}
PARAMETERS = {  # spec page transformer, section 13, step 5
    ("2", "video"): 13_041_520_768,
    ("2.3", "video"): 13_124_316_288,
    ("2.5", "video"): 13_123_337_344,
    ("2", "audio"): 3_265_980_544,
    ("2.3", "audio"): 3_286_408_320,
    ("2.5", "audio"): 3_286_408_320,
}


def published(generation: str) -> Checkpoint:
    path = MANIFESTS / f"transformer-{FILES[generation]}.json"
    if not path.is_file():
        pytest.skip(f"NOT CHECKED: halves of generation {generation}; the manifest {path} is not here")
    data = json.loads(path.read_text())
    entries = {
        name: TensorEntry(dtype=dtype, shape=tuple(shape), start=0, end=0)
        for name, (shape, dtype) in data["tensors"].items()
    }
    metadata = {"config": json.dumps({"transformer": data["config_transformer"]})}
    return Checkpoint(path=Path("published.safetensors"), metadata=metadata, entries=entries)


@pytest.mark.parametrize("generation", FILES)
@pytest.mark.parametrize("stream", ["video", "audio"])
def test_a_half_has_its_structure(generation: str, stream: Literal["video", "audio"]) -> None:
    half = of_stream(published(generation), stream)
    config = transformer_config(half)
    network = build_on_meta(lambda: Transformer(config))
    assert (config.video is None, config.audio is None) == (stream == "audio", stream == "video")
    assert sum(parameter.numel() for parameter in network.parameters()) == PARAMETERS[generation, stream]
    stored = {name: half.entries[key].shape for name, key in transformer_tensors(half).items()}
    assert {name: tuple(value.shape) for name, value in network.state_dict().items()} == stored


def test_a_half_that_is_not_there_is_refused() -> None:
    audio = of_stream(published("2.3"), "audio")
    with pytest.raises(CheckpointError, match="expected a transformer with video, found none"):
        of_stream(audio, "video")
