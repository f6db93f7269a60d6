"""Check the built site as a reader meets it; `make docs` ends with this.

    python docs/check_site.py docs/_build
    python docs/check_site.py docs/_build --pictures FOLDER --only quick-start reference    # and pictures of two

Read from the files: no link and no anchor is dead, nothing is loaded from outside, and for each word of `WORDS` the
search index has a title that names it. Seen in headless Chromium, at the widths of a desk and of a phone, in both
modes: no page scrolls sideways, and none asks for anything outside the folder.
"""

import argparse
import json
import re
import shutil
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

WIDTHS = (1280, 390)

WORDS = """
    log loss, class imbalance, one-hot, validation, calibration, temperature, distillation, soft labels, mixup,
    perplexity, bits per byte, language model, boosting, LightGBM, XGBoost, GPU, regularisation, NaN, memory-mapped,
    PyTorch, JAX, scikit-learn, glossary, licence, citing, contributing, speed, threads, binary, multi-label,
    padding, install
"""
"""What people type into the search field, each to be met in a title."""

LOADED = {"img": "src", "script": "src", "link": "href", "source": "src", "iframe": "src", "video": "src"}
"""Elements that load something, and the attribute that says what."""

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")


class Page(HTMLParser):
    """The anchors of a page, what it links to, and what it loads."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.anchors: set[str] = {""}
        self.links: list[str] = []
        self.loads: list[str] = []
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note one element."""
        values = {name: value or "" for name, value in attrs}
        self.anchors |= {values[name] for name in ("id", "name") if name in values}
        if tag == "a" and "href" in values:
            self.links.append(values["href"])
        loads = tag in LOADED and not (tag == "link" and values.get("rel") in ("canonical", "next", "prev", "author"))
        if loads and values.get(LOADED[tag]):
            self.loads.append(values[LOADED[tag]])


def words() -> list[str]:
    """The words of `WORDS`, one by one."""
    return [word.strip() for word in WORDS.replace("\n", " ").split(",")]


def is_outside(address: str) -> bool:
    """Whether an address leaves the site."""
    parts = urlsplit(address)
    return bool(parts.netloc) or parts.scheme not in ("", "data")


def faults_of_links(site: Path) -> Iterator[str]:
    """Dead links and anchors, missing files, and what would be loaded from outside."""
    pages = {path.resolve(): Page(path) for path in sorted(site.rglob("*.html"))}
    for path, page in pages.items():
        name = path.relative_to(site.resolve())
        for address in page.loads:
            if is_outside(address):
                yield f"{name} loads {address} from outside"
        for address in {*page.links, *page.loads}:
            if is_outside(address):
                continue
            parts = urlsplit(address)
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            if not target.is_file():
                if not address.startswith("data:"):
                    yield f"{name} links to {address}: no such file"
            elif target in pages and unquote(parts.fragment) not in pages[target].anchors:
                yield f"{name} links to {address}: no such anchor"
    for path in sorted(site.rglob("*.css")):
        for address in re.findall(r"(?:url\(|@import)\s*['\"]?(https?:[^'\")\s]+)", path.read_text(encoding="utf-8")):
            yield f"{path.relative_to(site)} loads {address} from outside"


def faults_of_search(site: Path, words: list[str]) -> Iterator[str]:
    """Words that no title of a page or a section names, by the index that the search field reads."""
    text = (site / "searchindex.js").read_text(encoding="utf-8")
    titles = json.loads(text[text.index("(") + 1 : text.rindex(")")])["alltitles"]
    for word in words:
        if not re.search(rf"(?<![a-z]){re.escape(word.lower())}", "\n".join(titles).lower()):
            yield f"search: no title names {word!r}"


def faults_in_browser(site: Path, pictures: Path | None, only: list[str]) -> Iterator[str]:
    """Pages that scroll sideways or ask for something outside, as Chromium shows them."""
    from playwright.sync_api import Error, sync_playwright

    with sync_playwright() as playwright:
        try:
            browser = playwright.chromium.launch(executable_path=next(filter(None, map(shutil.which, BROWSERS)), None))
        except Error as error:
            raise FileNotFoundError(f"install Chromium; {str(error).splitlines()[0]}") from None
        tab = browser.new_page()
        tab.set_default_timeout(300_000)  # on a busy machine
        asked: list[str] = []
        tab.on("request", lambda request: asked.append(request.url))
        for path in sorted(site.rglob("*.html")):
            name = path.relative_to(site).with_suffix("").as_posix()
            if only and name not in only:
                continue
            for mode in ("light", "dark") if pictures else ("light",):
                tab.emulate_media(color_scheme=mode)
                asked.clear()
                tab.goto(path.resolve().as_uri())
                for width in WIDTHS:
                    tab.set_viewport_size({"width": width, "height": 900})
                    wide = tab.evaluate("document.documentElement.scrollWidth")
                    if wide > width:
                        yield f"{name} is {wide} pixels wide on a screen of {width}: {widest(tab, width)}"
                    if pictures:
                        tab.screenshot(path=pictures / f"{name.replace('/', '-')}-{width}-{mode}.png")
                for address in asked:
                    if not address.startswith(("file:", "data:", "blob:")):
                        yield f"{name} asks for {address}"
        browser.close()


def widest(tab: Any, width: int) -> str:
    """The innermost element that reaches beyond the screen, to be looked for in the page."""
    found: str = tab.evaluate(
        """width => {
            const all = [...document.body.querySelectorAll("*")];
            const wide = all.filter(e => e.getBoundingClientRect().right > width + 1);
            const last = wide.filter(e => !wide.some(other => other !== e && e.contains(other))).pop();
            if (!last) return "?";
            return `<${last.tagName.toLowerCase()} class="${last.className}"> ${last.textContent.slice(0, 60)}`;
        }""",
        width,
    )
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("site", type=Path, help="the folder that Sphinx wrote")
    parser.add_argument("--pictures", type=Path, help="a folder for screenshots of each page, width and mode")
    parser.add_argument("--only", nargs="+", default=[], help="pages to be looked at in the browser, without .html")
    options = parser.parse_args()
    if options.pictures:
        options.pictures.mkdir(parents=True, exist_ok=True)
    faults = [*faults_of_links(options.site), *faults_of_search(options.site, words())]
    try:
        faults += faults_in_browser(options.site, options.pictures, options.only)
    except (ImportError, FileNotFoundError) as missing:
        print(f"Not looked at in a browser, so neither widths nor requests are checked: {missing}", file=sys.stderr)
    print(*faults, sep="\n")
    sys.exit(f"{len(faults)} faults" if faults else None)


if __name__ == "__main__":
    main()
