"""The gallery's index in sections.

sphinx-gallery makes a section of a folder. The scripts of `examples/` are to stay in one, so that their addresses do
not change. So the headings are put into the index that it has written.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sphinx.application import Sphinx

SECTIONS = {
    "First steps": [
        "quickstart",
        "entropy_and_surprise",
        "comparing_models",
        "losses_compared",
        "convexity_and_steps",
    ],
    "Losses and options": [
        "soft_labels",
        "ordinal_sigmoids",
        "rare_binders",
        "boosting_focal_loss",
        "fair_lending",
    ],
    "Calibration and evaluation": [
        "screening_materials",
        "language_model_evaluation",
    ],
    "Training": [
        "distillation_digits",
        "contrastive_halves",
        "rotation_pretext",
        "adversarial_digits",
        "xor_representation",
    ],
    "Generative models": [
        "vae_fingerprints",
        "gan_compositions",
    ],
    "Language models": [
        "language_model_head",
        "policy_gradient",
    ],
    "Biology, chemistry, physics": [
        "protein_localisation",
        "hairpin_classifier",
        "secondary_structure",
        "masked_residues",
        "repertoires",
        "gaussian_voltage",
        "variational_principle",
    ],
}
"""Every script, in the order of the gallery."""

OPEN = '.. raw:: html\n\n    <div class="sphx-glr-thumbnails">\n\n'
CLOSE = ".. raw:: html\n\n    </div>\n\n"
THUMBNAIL = r'\.\. raw:: html\n\n    <div class="sphx-glr-thumbcontainer".*?/sphx_glr_(\w+)_thumb\.'


def with_sections(index: str) -> str:
    """Put a heading above the first thumbnail of each section of the gallery's index."""
    titles = {names[0]: title for title, names in SECTIONS.items()}
    before, opened, thumbnails = index.partition(OPEN)
    if not opened:
        raise ValueError("expected thumbnails in the index of the gallery, as sphinx-gallery writes them, got none")
    close = ""

    def headed(thumbnail: re.Match[str]) -> str:
        nonlocal close
        title = titles.get(thumbnail[1])
        if title is None:
            return thumbnail[0]
        heading = f"{close}{title}\n{'-' * len(title)}\n\n{OPEN}"
        close = CLOSE
        return heading + thumbnail[0]

    return before + re.sub(THUMBNAIL, headed, thumbnails, flags=re.DOTALL)


def setup(app: Sphinx) -> dict[str, bool]:
    """Join the build, as the index is read."""

    def read(app: Sphinx, page: str, content: list[str]) -> None:
        if page == "gallery/index":
            content[0] = with_sections(content[0])

    app.connect("source-read", read)
    return {"parallel_read_safe": True}
