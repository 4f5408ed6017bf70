"""What goes wrong most often: what it says, what it means, what to do. The README's table is made of it.

Texts are those of the code, with … for each value; tests/test_troubles.py raises every one of them.
"""

from __future__ import annotations

from dataclasses import dataclass

from . import errors

BEGIN, END = "<!-- troubles: python -m openltx.nodes.help -->", "<!-- end of troubles -->"


@dataclass(frozen=True, kw_only=True)
class Trouble:
    """A row of the table."""

    says: str
    means: str
    do: str


TROUBLES = (
    Trouble(
        says=errors.MISSING,
        means="A workflow names a model file that no folder has.",
        do="Put it into one of the folders named, or take another file; `openltx doctor` lists what is missing.",
    ),
    Trouble(
        says=errors.INCOMPLETE,
        means="A download was cut off.",
        do="`openltx download` goes on where it ended and checks the hash.",
    ),
    Trouble(
        says=errors.PICKLE,
        means="An old kind of checkpoint, which could run any program.",
        do="Get the .safetensors or .gguf file of the same model.",
    ),
    Trouble(
        says=errors.MIXED,
        means="Transformer, VAE, text or LoRA of different LTX generations meet.",
        do="Load all parts of one generation.",
    ),
    Trouble(
        says=errors.NO_NEGATIVE,
        means="cfg is above 1 and nothing says what to stay away from.",
        do="Connect a negative prompt, an empty one will do, or set cfg to 1.",
    ),
    Trouble(
        says="out of memory, and the decoder has no smaller pieces (…); decode a shorter or smaller clip, or free "
        "memory",
        means="Every cheaper way of the plan was tried.",
        do="See `openltx plan`; close other programs, or make the clip shorter or smaller.",
    ),
    Trouble(
        says="step … of …: the network gave NaN or infinity in the … latent; try another precision, or check that the "
        "files belong together",
        means="A number overflowed, with exact attention too; the line names the layer and the last good latent.",
        do="Choose bfloat16 or float32 in the loader, lower LoRA strengths; the file named holds the work so far.",
    ),
    Trouble(
        says="…: expected room on the disk, found none (… is full); free some space or choose another output folder; "
        "nothing was written",
        means="The disk filled up while the file was written.",
        do="Free some space and run again: earlier files are whole.",
    ),
    Trouble(
        says=errors.OUTSIDE,
        means="A file name leads out of the output folder.",
        do="Use a name, or folder/name, without .. and drive.",
    ),
    Trouble(
        says="expected API format, found UI format; in ComfyUI use Workflow > Export (API)",
        means="The file is what ComfyUI's window saves.",
        do="Export it for the API, or `openltx adopt FILE`.",
    ),
    Trouble(
        says=errors.NO_MEDIA,
        means="A media file is damaged, empty or of another kind than its name.",
        do="Play it elsewhere; convert it with a program that can.",
    ),
    Trouble(
        says="device …: cannot be used here (…); choose another, or 'cpu'",
        means="This torch has no support for the card, or there is none.",
        do="Install a torch for your card, or leave `--device` away.",
    ),
    Trouble(
        says="finished steps of an earlier run cannot be used (…); this stage begins anew",
        means="What a killed run has left is damaged.",
        do="Nothing: the result is the same, it only takes longer.",
    ),
)


def table() -> str:
    """In Markdown."""
    rows = [f"| {_cell(row.says, code=True)} | {_cell(row.means)} | {_cell(row.do)} |" for row in TROUBLES]
    return "\n".join(["| it says | it means | what to do |", "|---|---|---|", *rows])


def with_table(readme: str) -> str:
    """A README with the table as it is now between its two marks."""
    before, _, rest = readme.partition(BEGIN)
    _, _, after = rest.partition(END)
    assert after, "README.md lacks the marks of its troubles"
    return f"{before}{BEGIN}\n{table()}\n{END}{after}"


def _cell(text: str, *, code: bool = False) -> str:
    safe = text.replace("|", "\\|")
    return f"`{safe}`" if code else safe
