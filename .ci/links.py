"""Fails if a page below the folder that is given has a link inside of it that leads to no file or to no anchor of one."""

import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit


class Page(HTMLParser):
    def __init__(self, path):
        super().__init__()
        self.anchors, self.links = set(), []
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        self.anchors.update(value for name in ("id", "name") if (value := attributes.get(name)))
        self.links.extend(value for name in ("href", "src") if (value := attributes.get(name)))


book = Path(sys.argv[1]).resolve()
# These two repeat the other pages, with links from another place.
pages = {path: Page(path) for path in book.rglob("*.html") if path.name not in ("404.html", "print.html")}
broken, checked = [], 0
for path, page in pages.items():
    for link in page.links:
        parts = urlsplit(link)
        if parts.scheme or parts.netloc:
            continue
        checked += 1
        target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
        if not target.is_file():
            broken.append(f"{path.relative_to(book)}: no file {link}")
        elif parts.fragment and target in pages and unquote(parts.fragment) not in pages[target].anchors:
            broken.append(f"{path.relative_to(book)}: no anchor {link}")
print(*broken, sep="\n", end="\n" if broken else "", file=sys.stderr)
print(f"{len(pages)} pages, {checked} links inside")
sys.exit(bool(broken) or not checked)
