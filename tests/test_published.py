"""Full-size structure: every published network has exactly the names and shapes of the published files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from openltx.cli import main
from openltx.model_loaders.assemble import build_on_meta
from openltx.model_loaders.published import PUBLISHED, published_model

MANIFESTS = Path(__file__).resolve().parents[2] / "shared" / "manifests"
DIFFUSION = "model.diffusion_model."
# component of `published.py` -> (manifest, prefix in it); {} is the model's name
PLACES = {
    "transformer": ("transformer-{}", DIFFUSION),
    "video connector": ("text_projection-{}", f"{DIFFUSION}video_embeddings_connector."),
    "audio connector": ("text_projection-{}", f"{DIFFUSION}audio_embeddings_connector."),
    "text projection": ("text_projection-{}", "text_embedding_projection."),
    "duration head": ("duration_head-{}", "duration_head."),
    "audio encoder": ("audio_vae-{}", "audio_vae.encoder."),
    "audio decoder": ("audio_vae-{}", "audio_vae.decoder."),
    "vocoder": ("vocoder-{}", "vocoder."),
    "spatial upscaler x2": ("latent_upscaler-{}-spatial-x2", ""),
    "spatial upscaler x1.5": ("latent_upscaler-{}-spatial-x1.5", ""),
    "temporal upscaler x2": ("latent_upscaler-{}-temporal-x2", ""),
}
CASES = [(name, component) for name in PUBLISHED for component in published_model(name).networks]


def _place(name: str, component: str) -> tuple[str, str]:
    if component == "text encoder":
        return ("gemma4-12b-ltx", "model.") if name == "ltx-2.5-22b" else ("gemma3-12b-text", "language_model.model.")
    if component in ("video encoder", "video decoder"):
        bare = name == "ltx-2.5-22b"  # its files hold one component each
        return f"video_vae-{name}", f"{'' if bare else 'vae.'}{component.split()[1]}."
    if component == "diffusion decoder":
        return f"video_vae_diffusion-{name}", "decoder."
    manifest, prefix = PLACES[component]
    return manifest.format(name), prefix


@pytest.mark.parametrize(("name", "component"), CASES)
def test_names_and_shapes(name: str, component: str) -> None:
    manifest, prefix = _place(name, component)
    path = MANIFESTS / f"{manifest}.json"
    if not path.is_file():
        pytest.skip(f"NOT CHECKED: {name}, {component}: the list of published tensors {path} is not here")
    listed: dict[str, Any] = json.loads(path.read_text())["tensors"]
    expected = {key.removeprefix(prefix): tuple(row[0]) for key, row in listed.items() if key.startswith(prefix)}
    network = build_on_meta(published_model(name).networks[component])
    found = {key: tuple(tensor.shape) for key, tensor in network.state_dict().items()}
    shared = {key: shape for key, shape in found.items() if key.startswith("per_channel_statistics.")}
    for key in shared:  # both halves of a VAE own them; the file holds them once
        del found[key]
    if component == "diffusion decoder":  # gates are folded into their layers; the rest is not used by the network
        expected = {key: shape for key, shape in expected.items() if key in found}
    assert expected, f"{path} lists nothing below {prefix!r}"
    assert found == expected


def test_inspect_prints_the_counts_of_a_published_model(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["inspect", "--config", "ltx-2.3-22b"]) == 0
    out = capsys.readouterr().out
    assert "18 988 838 144" in out
    assert main(["inspect", "--config", "ltx-2.3-22b", "--json"]) == 0
    rows = {row["component"]: row for row in json.loads(capsys.readouterr().out)["components"]}
    assert rows["transformer"]["parameters"] == 18_988_838_144
    assert rows["text encoder"]["parameters"] == 11_766_034_176
    assert main(["inspect", "--config", "ltx-9"]) == 2
    assert "expected one of ltx-2-19b, ltx-2.3-22b, ltx-2.5-22b" in capsys.readouterr().err
