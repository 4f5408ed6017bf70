"""What a node's schema does not say: use in practice, memory, and the errors that users meet, by node id.

Errors are the texts of the code, with … for each value; a test looks every one of them up. One place for all nodes,
so that a change of an error text is found here and nowhere else.
"""

from __future__ import annotations

from .note import Note
from .notes_after import CLIPS, ENDINGS, GUIDANCE, STAGES
from .notes_before import ENCODING, ITEMS, LATENTS, LOADERS
from .notes_shots import SHOTS

NOTES: dict[str, Note] = {
    **LOADERS,
    **ENCODING,
    **LATENTS,
    **ITEMS,
    **GUIDANCE,
    **STAGES,
    **CLIPS,
    **ENDINGS,
    **SHOTS,
}
