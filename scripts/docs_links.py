"""Follows every link of a built site, on its pages and between them: scripts/docs_links.py FOLDER

A page or a heading that is not there, and anything that a page would load from elsewhere, is told;
the status is 1 then. Links to other sites are not followed: nothing is asked of a network.
"""

from __future__ import annotations

import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit


class _Page(HTMLParser):
    """What a page links to, what it loads, and the places in it that a link may lead to."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.links: set[str] = set()
        self.loaded: set[str] = set()
        self.places: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Take note of what matters in a tag."""
        given = {name: value for name, value in attrs if value is not None}
        self.places |= {given[name] for name in ("id", "name") if name in given}
        if tag == "a":
            self.links |= {given["href"]} if "href" in given else set()
        elif tag == "link" and given.get("rel") in ("canonical", "next", "prev"):
            self.links |= {given["href"]}
        else:
            self.loaded |= {given[name] for name in ("src", "href") if name in given}


def broken(site: Path) -> list[str]:
    """A line for each link that leads nowhere, and each thing that is loaded from elsewhere."""
    pages = {
        path.resolve(): _Page(path.read_text(encoding="utf-8")) for path in site.rglob("*.html")
    }
    told = []
    for path, page in sorted(pages.items()):
        name = path.relative_to(site.resolve()).as_posix()
        for link in sorted(page.links | page.loaded):
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                if link in page.loaded and parts.scheme != "data":
                    told.append(f"{name} loads {link}")
                continue
            if name == "404.html" and parts.path.startswith("/"):
                continue  # it is shown at any depth, so its links begin at the root
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            target = target / "index.html" if target.is_dir() else target
            if not target.is_file():
                told.append(f"{name} leads to {link}, which is not there")
            elif parts.fragment and unquote(parts.fragment) not in pages[target].places:
                told.append(f"{name} leads to {link}, and there is no such heading")
    return told


if __name__ == "__main__":
    found = broken(Path(sys.argv[1]))
    print("\n".join(found) or "every link leads somewhere")
    sys.exit(bool(found))
