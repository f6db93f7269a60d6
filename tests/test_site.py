"""The checker of the built site finds what it looks for; the pages name one another."""

import importlib.util
import json
import re
import sys
from pathlib import Path
from types import ModuleType

import pytest

DOCS = Path(__file__).parents[1] / "docs"


def load(path: Path) -> ModuleType:
    """A script of the documentation, which is no module of a package."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def of_docs(name: str) -> ModuleType:
    """A module of the documentation's own extensions."""
    sys.path.insert(0, str(DOCS / "_ext"))
    try:
        return importlib.import_module(name)
    finally:
        sys.path.pop(0)


check_site = load(DOCS / "check_site.py")


def site(folder: Path, body: str, style: str = "") -> Path:
    (folder / "index.html").write_text(f"<html><body>{body}</body></html>", encoding="utf-8")
    (folder / "other.html").write_text('<h1 id="top">Other</h1>', encoding="utf-8")
    (folder / "style.css").write_text(style, encoding="utf-8")
    return folder


@pytest.mark.parametrize(
    "body",
    [
        '<a href="other.html">1</a><a href="other.html#top">2</a><a href="#here">3</a><p id="here">',
        '<a href="https://example.org/">a reader may leave</a>',
        '<img src="data:image/png;base64,AAAA"><link rel="stylesheet" href="style.css?v=1">',
    ],
)
def test_a_site_without_faults(tmp_path: Path, body: str) -> None:
    assert not list(check_site.faults_of_links(site(tmp_path, body, "a { background: url(data:image/png) }")))


@pytest.mark.parametrize(
    ("body", "style", "fault"),
    [
        ('<a href="missing.html">', "", "index.html links to missing.html: no such file"),
        ('<img src="missing.png">', "", "index.html links to missing.png: no such file"),
        ('<a href="other.html#gone">', "", "index.html links to other.html#gone: no such anchor"),
        ('<a href="#gone">', "", "index.html links to #gone: no such anchor"),
        ('<script src="https://cdn.example/x.js">', "", "index.html loads https://cdn.example/x.js from outside"),
        ('<link rel="stylesheet" href="//cdn.example/x.css">', "", "index.html loads //cdn.example/x.css from outside"),
        ("", "@import 'https://fonts.example/a.css';", "style.css loads https://fonts.example/a.css from outside"),
        ("", "p { src: url(https://fonts.example/a) }", "style.css loads https://fonts.example/a from outside"),
    ],
)
def test_faults_of_links(tmp_path: Path, body: str, style: str, fault: str) -> None:
    assert list(check_site.faults_of_links(site(tmp_path, body, style))) == [fault]


def test_faults_of_search(tmp_path: Path) -> None:
    titles = {"Log loss (1)": [], "Calibration": [], "Imbalance": []}
    (tmp_path / "searchindex.js").write_text(f"Search.setIndex({json.dumps({'alltitles': titles})})", encoding="utf-8")
    found = list(check_site.faults_of_search(tmp_path, ["log loss", "calibration", "balance", "GPU"]))
    assert found == ["search: no title names 'balance'", "search: no title names 'GPU'"]


def test_every_word_is_looked_for() -> None:
    words = check_site.words()
    assert {"log loss", "one-hot", "bits per byte", "GPU", "NaN", "memory-mapped", "install"} <= set(words)
    assert all(word == word.strip() and word for word in words)


@pytest.mark.parametrize(
    "word",
    "log loss, class imbalance, one-hot, validation, calibration, distillation, mixup, perplexity, bits per byte, "
    "boosting, GPU, regularisation, NaN, memory-mapped".split(", "),
)
def test_a_page_is_named_after_what_people_type(word: str) -> None:
    titles = [page.read_text(encoding="utf-8").split("\n", 1)[0] for page in DOCS.glob("*.md")]
    assert word in check_site.words()
    assert [title for title in titles if title.startswith("# ") and word.lower() in title.lower()]


@pytest.mark.parametrize("page", sorted(DOCS.glob("*.md")), ids=lambda page: page.stem)
def test_every_page_is_in_the_contents(page: Path) -> None:
    index = (DOCS / "index.md").read_text(encoding="utf-8")
    contents = " ".join(re.findall(r"```\{toctree\}(.*?)```", index, re.DOTALL)).split()
    assert page.stem == "index" or page.stem in contents, f"{page.name} is in no toctree of docs/index.md"


def test_names_between_backticks_mean_the_nearest_function() -> None:
    pytest.importorskip("sphinx", reason="sphinx comes with the extra docs")
    crossings = of_docs("crossings")
    names = crossings.listed(DOCS / "reference.md")
    assert len(names) == len(set(names)) > 100
    anywhere, on_torch = crossings.meaning(names, "which-loss"), crossings.meaning(names, "torch")
    assert anywhere["cross_entropy"] == anywhere["xe.cross_entropy"] == "xentrs.cross_entropy"
    assert on_torch["cross_entropy"] == on_torch["torch.cross_entropy"] == "xentrs.torch.cross_entropy"
    assert on_torch["xe.cross_entropy"] == "xentrs.cross_entropy"
    assert anywhere["TemperatureScaler"] == anywhere["models.TemperatureScaler"] == "xentrs.models.TemperatureScaler"
    assert "logits" not in anywhere


def test_every_example_has_a_section() -> None:
    listed = [name for names in of_docs("sections").SECTIONS.values() for name in names]
    assert sorted(listed) == sorted(path.stem for path in DOCS.with_name("examples").glob("*.py"))


def test_the_index_of_the_gallery_gets_its_headings() -> None:
    sections = of_docs("sections")
    names = [name for names in sections.SECTIONS.values() for name in names]
    thumbnail = """.. raw:: html\n
    <div class="sphx-glr-thumbcontainer" tooltip="Why?">\n
.. image:: /gallery/images/thumb/sphx_glr_{}_thumb.png\n
.. raw:: html\n
    </div>\n\n"""
    index = f"Gallery\n=======\n\n{sections.OPEN}{''.join(map(thumbnail.format, names))}{sections.CLOSE}"
    headed = sections.with_sections(index)
    for title, (first, *_) in sections.SECTIONS.items():
        assert f"\n{title}\n{'-' * len(title)}\n\n{sections.OPEN}{thumbnail.format(first)}" in headed
    assert headed.count("<div") == headed.count("</div>") == len(names) + len(sections.SECTIONS)
    with pytest.raises(ValueError, match="thumbnails in the index"):
        sections.with_sections("Gallery\n=======\n")
