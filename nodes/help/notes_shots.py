"""Notes of OpenLTX/shots: the grammar of a shot list, what is kept, and the errors."""

from __future__ import annotations

from .note import Note

# Every message of a shot list begins with "line N: shot 'NAME': ".
GRAMMAR = """\
The text is TOML; `#` begins a remark. Times are seconds (`3.5`), `"0:03.5"` or `"84 frames"`. Only `[[shot]]` with
`length` and `prompt` is needed.

```toml
title = "Rain"
[film]
width = 768               # pixels, multiples of 32; height too
fps = 24
window = 5.0              # seconds that are sampled at once: what the model knows
overlap = 1.0             # seconds that a window is given of the one before
hold = 0.5                # how exactly the picture goes on, 0 to 1
drift_control = 0.0       # draws windows to the colours of the shot's first one, 0 to 1
seed = 10                 # shots without a seed have one of this and of their name
transition = "cut"        # of shots that name none
loras = []                # of all shots: {file = "x.safetensors", strength = 0.8}
[style]
before = "film still"     # words before every prompt
text = "rain, dusk"       # words after it
[cast.anna]               # {anna} in a prompt stands for the words, and brings voice and picture along
text = "Anna, a woman in a red coat"
voice = "anna.wav"        # a sample of the voice, for LoRAs that read one
image = "anna.png"        # a reference picture, for IC-LoRAs such as ingredients
[soundtrack]
file = "music.flac"
use = "under"             # laid under the sound that is made, or "given": pictures are made for it
gain = -12                # dB, of use = "under"
[[shot]]
name = "door"             # for errors, `like`, and the seed
length = 4                # or `at`, when it begins, on this shot and the next
prompt = "{anna} opens a door, a creak"
first = "door.png"        # the first picture; last: the last one
images = [{file = "hand.png", at = 1.5, strength = 0.8}]
control = {file = "depth.mp4", start = 0, strength = 1, attention = 1}   # for an IC-LoRA
audio = "line.wav"        # its sound, kept as it is; voice: a file or one of the cast
loras = [{file = "style.safetensors", strength = 0.8}]
seed = 4
[[shot]]
like = "door"             # everything of that shot that this one does not say itself, but name and at
prompt = "{anna} walks in"
transition = "continue"   # goes on from the end of the shot before, in picture and sound
[[shot]]
length = 4
prompt = "rain on a window"
transition = "overlap"    # the frames around its start are made anew, with both sides given
overlap = 1.0             # for so many seconds
```

A shot is rendered anew when anything changes that shapes it: its prompt, length, seed, files (their contents), LoRAs,
the models, the guidance, the schedule. An edit of a shot also renders the seams beside it where shots overlap, and all
shots that go on from it with `continue`, up to the next cut or overlap: they begin with its end. Lengths are rounded to
whole latent frames (8 frames); with `at` the roundings do not add up.
"""
KEPT = """\
Kept are the latents of every shot and seam and, losslessly at 8 bits, their decoded frames, in the folder that
`OPENLTX_CACHE` names (else the user's own cache folder), at most `OPENLTX_CACHE_GB` (20); what was not used for longest
makes room. `openltx workflows cache` lists it, `--clear` empties it. An interrupted film goes on with the shot at
which it was stopped.
"""
REMOVED = "shots: expected a rendered shot in the cache, found it removed meanwhile; run again"
VAE = "line …: shot …: … need a VAE, found none; connect … to the node that samples"

SHOTS = {
    "OpenLTXShotList": Note(
        use=GRAMMAR,
        errors=(
            "…: no such key; the nearest is …",
            "line …: expected a shot list in TOML, found a mistake: …",
            "length: expected at least one latent frame, … frames (… s), found …; make it longer",
            "at: expected … or later, found …, while shot … (line …) lasts from … to …; times overlap: move one",
            "…: expected no cycle of references, found …; write one of them out",
        ),
    ),
    "OpenLTXShotTable": Note(
        use="Times come from shots of the same size and model that were rendered on this machine before; without one, "
        "how long it takes is not known. The PNG carries the table as a text.",
        errors=(VAE,),
    ),
    "OpenLTXSampleShots": Note(
        use=KEPT,
        memory="One window is sampled at a time, and one shot's latents are held: memory does not grow with the number "
        "of shots.",
        errors=(VAE, REMOVED),
    ),
    "OpenLTXShotsToFile": Note(
        use="Every shot is decoded with a few latent frames of its neighbours, so that its borders do not show. Sound "
        "goes over from one shot to the next within 20 ms.",
        memory="Frames go from the decoder into the cache and from there into the encoder, a few at a time; of the "
        "sound, that of two shots is held.",
        errors=(REMOVED,),
    ),
    "OpenLTXShotLatent": Note(errors=("shot: expected one of …, found …; choose one of them", REMOVED)),
}
