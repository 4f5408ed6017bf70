"""Errors that more than one help page quotes, as in the code, with … for each value."""

from __future__ import annotations

MISSING = "…: expected …, found …; put the file into one of: …"
MIXED = "…: expected LTX-… like …, found LTX-…; use parts of one generation"
NO_RATE = "latent: it carries no frame rate; start from Empty AV Latent (LTX)"
NO_VIDEO = "latent: expected a video latent, found sound alone"
NO_SOUND = "latent: expected an audio latent, found video alone"
CLAIMED = "items … and … both claim frame … at full strength; move one, or lower its strength"
BEYOND = (
    "keyframe: expected a frame from 0 to … (or -1 to -… from the end), found …; move it into the clip or make the "
    "clip longer"
)
SHORT = "images: expected at least … frames, found …; make the latent shorter"
INCOMPLETE = "…: its header claims … bytes, the file has …; the download is incomplete, fetch it again"
PICKLE = "…: a pickle, not a safetensors file; pickles can run any code and are never opened, get the .safetensors file"
NO_TRANSFORMER = (
    "…: expected a transformer (a tensor patchify_proj.weight), found none; choose a file from diffusion_models or a "
    "full checkpoint"
)
OLD_MODEL = (
    "…: expected an LTX-2, 2.3 or 2.5 transformer, found an older video-only LTX-Video model; it is not supported"
)
OTHER_ENCODER = "…: … expects the text encoder gemma3, found …; use Gemma 3 12B with LTX-2 and LTX-2.3"
OTHER_CONTEXTS = "…: expected contexts of width …, found …; encode the prompt with the text encoder of this model"
SEVERAL_PROMPTS = "…: expected one conditioning entry, found …; encode a single prompt"
NO_NEGATIVE = "negative: text guidance needs a negative prompt (an empty one will do), found none"
OTHER_MODEL = "latent: expected …, as … has, found …; it belongs to another model: start from Empty AV Latent (LTX)"
NOT_FINITE = "latent: expected finite numbers, found NaN or infinity in the …; make it anew"
FEW_SIGMAS = "sigmas: expected a list of at least two values, found shape …"
RISING_SIGMAS = "sigmas: expected strictly falling values, found …"
NO_STEP = "…; no step was good: the stage's start is in …"
LAST_GOOD = "…; the latent of the step before is in …"
TILES = (
    "tiles: …: expected tiles longer than their overlap of …, found … tiles of … on … cells; use fewer tiles or a "
    "smaller overlap"
)
NO_SEED = "noise: expected noise from a seed, which every segment varies, found …; use Noise (LTX)"
UNCUTTABLE = (
    "parts of a clip: expected images, references, masks, given streams or reference voices, found …; it cannot be "
    "cut: remove it, or sample in one piece"
)
CROSSES = "parts of a clip: a clip at frames … to … crosses the end of a part at frame …; move it, or make it shorter"
NO_MEDIA = "…: expected a media file that can be read, found none (…)"
NO_C2PA = "content credentials: the c2pa-python package is missing; pip install 'openltx[c2pa]'"
NO_CERTIFICATE = "…: no such file; name your certificate, or make a local one: openltx sign --make-certificate NAME"
OUTSIDE = "filename prefix: expected a name inside …, found …; use a relative name"
LORA_GENERATION = "…: expected a LoRA for LTX-…, found one for LTX-…; use a LoRA of the model's generation"
NO_LORA = "…: expected a LoRA, found a file of kind …; choose another file"
LORA_KEYS = "…: expected keys of this …, found none among … (…); use a LoRA that was made for this model"
EXR_PACKAGE = "EXR: the OpenEXR package is missing; pip install 'openltx[exr]'"
