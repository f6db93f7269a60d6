"""Links between guides and the reference, both ways, without a word in the sources.

A name of the public API that a page has between backticks becomes a link to its page in the reference. There stand,
below its documentation, the guides that name it.
"""

import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

from docutils import nodes
from sphinx import addnodes
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment

REFERENCE = "api/"
"""The folder of the pages of the reference, one for each name that `reference.md` lists."""

NO_GUIDES = ("api/", "decisions/", "gallery/", "changelog", "reference", "index", "how-a-call-travels")
"""Pages that a reader of the reference is not sent to."""


def listed(index: Path) -> list[str]:
    """The full names that the index of the reference lists."""
    return re.findall(r"^   (xentrs\.[\w.]+)$", index.read_text(encoding="utf-8"), re.MULTILINE)


def meaning(full_names: list[str], page: str) -> dict[str, str]:
    """What may stand between backticks on a page, and the full name that it means.

    Of two functions of one name the page `torch` means that of `xentrs.torch`, others the one nearest to `xentrs`.
    """
    meant: dict[str, str] = {}
    for full in sorted(full_names, key=lambda full: (not full.startswith(f"xentrs.{page}."), full.count("."))):
        for written in (full, full.replace("xentrs.", "xe.", 1), full.removeprefix("xentrs."), full.split(".")[-1]):
            meant.setdefault(written, full)
    return meant


def link_names(app: Sphinx, doctree: nodes.document) -> None:
    """Make links of the names of one page, and remember which they are."""
    env, page = app.env, app.env.current_document.docname
    meant = meaning(app.xentrs_names, page)
    for literal in list(doctree.findall(nodes.literal)):
        name = literal.astext().removesuffix("()")
        within = literal.parent
        if name not in meant or isinstance(within, (nodes.title, nodes.reference, addnodes.pending_xref)):
            continue
        full = meant[name]
        if page == REFERENCE + full:
            continue
        link = addnodes.pending_xref(
            "", literal.deepcopy(), refdomain="py", reftype="obj", reftarget=full, refexplicit=True, refdoc=page
        )
        literal.replace_self(link)
    if not page.startswith(NO_GUIDES):
        named = {link.get("reftarget", "") for link in doctree.findall(addnodes.pending_xref)}
        for block in doctree.findall(lambda node: isinstance(node, (nodes.literal_block, nodes.doctest_block))):
            named |= {meant.get(written, "") for written in re.findall(r"\bxe\.[a-z]\w+|\b[A-Z]\w+", block.astext())}
        for full in named:
            env.xentrs_guides[full].add(page)


def forget(app: Sphinx, env: BuildEnvironment, page: str) -> None:
    """Forget a page that is read anew."""
    if not hasattr(env, "xentrs_guides"):
        env.xentrs_guides = defaultdict(set)
    for pages in env.xentrs_guides.values():
        pages.discard(page)


def reference_pages(app: Sphinx, env: BuildEnvironment) -> Iterator[str]:
    """Pages to be written again, as a guide may have changed."""
    return (page for page in env.found_docs if page.startswith(REFERENCE))


def list_guides(app: Sphinx, doctree: nodes.document, page: str) -> None:
    """Put the guides that name a function below its documentation."""
    if not page.startswith(REFERENCE):
        return
    full = page.removeprefix(REFERENCE)
    guides = set().union(*(app.env.xentrs_guides[full + twin] for twin in ("", "_with_grad", "_with_hess")))
    if not guides:
        return
    entries = nodes.bullet_list()
    for guide in sorted(guides):
        target = app.builder.get_relative_uri(page, guide)
        link = nodes.reference("", app.env.titles[guide].astext(), internal=True, refuri=target)
        entries += nodes.list_item("", nodes.paragraph("", "", link))
    section = nodes.section("", nodes.title("", "In the guides"), entries, ids=["in-the-guides"])
    next(iter(doctree.findall(nodes.section))).append(section)


def setup(app: Sphinx) -> dict[str, bool | int]:
    """Join the build: after a page is read, and before one is written."""
    app.xentrs_names = listed(Path(app.srcdir) / "reference.md")
    app.connect("env-purge-doc", forget)
    app.connect("doctree-read", link_names)
    app.connect("env-updated", reference_pages)
    app.connect("doctree-resolved", list_guides)
    return {"env_version": 1, "parallel_read_safe": False}
