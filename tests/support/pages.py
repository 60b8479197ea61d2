"""Pages as an HTML parser sees them."""

from __future__ import annotations

import html.parser
import json
from typing import Any

from scl import report
from scl.report.results import Results, read
from scl.store.files import Folder

NASTY = [
    "baseline",
    "<img src=x onerror=alert(1)>",
    "%{x} %{customdata[0]}",
    "</script><script>alert(2)</script><!--",
    "<b>bold</b><a href='https://example.org'>link</a>",
    "שלום <i>עולם</i>",
    "x" * 300,
    "🧪 emoji",
    "@ink & &amp; {{ 7*7 }}",
]


class Page(html.parser.HTMLParser):
    """Tags with attributes, rows of tables by arm, and scripts."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.tables: dict[str, list[dict[str, tuple[str, str | None]]]] = {}
        self.arms: list[tuple[str, str]] = []
        self.scripts: list[tuple[dict[str, str | None], str]] = []
        self.text = ""
        self._table = ""
        self._cell: tuple[str, str | None] | None = None
        self._shown = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        a = dict(attrs)
        self.tags.append((tag, a))
        if tag == "table":
            self._table = a.get("id") or ""
            self.tables.setdefault(self._table, [])
        elif tag == "tr" and "data-arm" in a:
            self.arms.append((self._table, str(a["data-arm"])))
            self.tables[self._table].append({"data-arm": (str(a["data-arm"]), None)})
        elif tag in ("td", "th") and "data-col" in a:
            self._cell, self._shown = (str(a["data-col"]), a.get("data-value")), ""
        elif tag == "script":
            self.scripts.append((a, ""))

    def handle_endtag(self, tag: str) -> None:
        if tag in ("td", "th") and self._cell:
            if self.tables[self._table]:
                self.tables[self._table][-1][self._cell[0]] = (self._shown, self._cell[1])
            self._cell = None

    def handle_data(self, data: str) -> None:
        if self.tags and self.tags[-1][0] == "script" and self.scripts:
            self.scripts[-1] = (self.scripts[-1][0], self.scripts[-1][1] + data)
            return
        self.text += data
        self._shown += data

    def figures(self) -> dict[str, Any]:
        return dict(json.loads(next(text for a, text in self.scripts if a.get("id") == "figures")))


def built(store: Folder) -> tuple[Page, str, Results]:
    """The page of a store, parsed and as text, and its results, whose facts are computed once."""
    results = read(store)
    text = report.render(results)
    return Page(text), text, results
