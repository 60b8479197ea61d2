"""The page in headless Chromium: no console message, no request, no axe violation, any width, print.

Skipped without Chromium. The axe tests also need axe-core: `npm install --no-save axe-core` in the root of the
repository, or AXE_CORE=path/to/axe.min.js.
"""

from __future__ import annotations

import base64
import json
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import quote

import numpy as np
import pytest

from scl.report import PANELS, comparison, formatting, paper_figures
from scl.report.csv_text import table_csv
from scl.report.names import shortened
from scl.report.paper_table import comma_separated, latex, markdown
from scl.report.results import Results, read
from scl.report.theme import WIDE
from scl.store.files import Folder
from tests.support.browser import Browser, chromium
from tests.support.pages import NASTY, Page, built
from tests.support.synthetic import (
    make_depth_store,
    make_image_store,
    make_search_store,
    make_self_taught_store,
    make_store,
)

ARMS = ["baseline", "kd", "channel", "spatial", "channel+spatial"]


def make_nasty_store(folder: Path) -> Folder:
    """Arms and classes with hostile names, and predictions of 90 images."""
    labels = np.arange(90) % len(NASTY)
    rng = np.random.default_rng(0)
    predicted = {
        (arm, seed): np.where(rng.random(90) < 0.7, labels, rng.integers(0, len(NASTY), 90))
        for arm in NASTY
        for seed in range(3)
    }
    data = {"name": "nasty", "test": 90, "classes": len(NASTY)}
    return make_image_store(folder, predicted, labels, (labels + (labels == 2)) % 9, data=data, class_names=NASTY)


STORES: dict[str, Callable[[Path], Folder]] = {
    "plain": lambda f: make_store(f, ARMS, range(3), states={("kd", 2): "missing", ("spatial", 0): "failed"}),
    "nasty": lambda f: make_nasty_store(f),
    "one seed": lambda f: make_store(f, ARMS, [0]),
    "nothing": lambda f: make_store(f, ARMS[:2], [0], states={(a, 0): "failed" for a in ARMS[:2]}),
    "search": lambda f: make_search_store(f, 60, multi=True),
    "self-taught": make_self_taught_store,
    "depth": make_depth_store,
}

# At the start of the page: records every violation of its policy.
LISTENER = """<script>
const violations = [];
document.addEventListener("securitypolicyviolation", (e) => violations.push(e.blockedURI));
</script>"""


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    if not chromium():
        pytest.skip("no Chromium on this machine")
    with Browser(tmp_path_factory.mktemp("chromium")) as one:
        yield one


def shown(browser: Browser, folder: Path, page: str, hash: str = "", width: int = 1280, drawn: bool = True) -> Browser:
    """The browser with this page, without earlier messages. drawn: wait for its figures, which take the longest."""
    file = folder / "page.html"
    file.write_text(page.replace('<meta charset="utf-8">', '<meta charset="utf-8">' + LISTENER, 1), encoding="utf-8")
    browser.messages.clear()
    browser.size(width)
    browser.open(file, hash, drawn)
    return browser


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=[pytest.mark.slow] * (n in ("plain", "self-taught", "depth"))) for n in STORES]
)
def test_the_page_is_drawn_without_a_message_or_a_request(tmp_path: Path, browser: Browser, name: str) -> None:
    page, text, _ = built(STORES[name](tmp_path / "store"))
    shown(browser, tmp_path, text)
    assert browser.run("""return {
      asked: performance.getEntriesByType("resource").map((e) => e.name),
      violations,
      wide: document.documentElement.scrollWidth - innerWidth,
      cloud: [...document.querySelectorAll(".modebar-btn")].map((b) => b.dataset.title)
        .filter((t) => /cloud|edit|share/i.test(t)),
      gl: document.querySelectorAll("canvas").length,
    };""") == {"asked": [], "violations": [], "wide": 0, "cloud": [], "gl": 0}
    assert browser.messages == []
    drawn = Page(browser.run("return document.documentElement.outerHTML"))
    assert sum(1 for _, a in drawn.tags if a.get("data-drawn") == "yes") == len(page.figures())
    assert not {"img", "b"} & {tag for tag, _ in drawn.tags}
    if name == "nasty":
        text = drawn.text.replace("\u2068", "").replace("\u2069", "")
        assert all(short in text for short in shortened(tuple(NASTY), WIDE).values())


# Texts of drawings that cover each other or leave their drawing, what sticks out of the page, and clipped main tables.
FAULTS = """
  const texts = [...document.querySelectorAll(".plot .main-svg text")].filter((t) => t.textContent.trim())
    .map((t) => [t, t.getBoundingClientRect(), t.closest(".plot")]).filter(([, r]) => r.width > 1);
  const faults = [];
  texts.forEach(([t, a, plot], i) => {
    const p = plot.getBoundingClientRect();
    const beyond = Math.max(a.right - p.right, p.left - a.left, p.top - a.top, a.bottom - p.bottom);
    if (beyond > 2) faults.push([plot.id, t.textContent]);
    for (const [u, b, other] of texts.slice(i + 1)) {
      if (other !== plot || [t, u].some((x) => /rotate\\(-45/.test(x.getAttribute("transform") ?? ""))) continue;
      const w = Math.min(a.right, b.right) - Math.max(a.left, b.left);
      const h = Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top);
      if (w > 1 && h > 3) faults.push([plot.id, t.textContent, u.textContent]);
    }
  });
  const out = [...document.querySelectorAll("main *")].filter((e) => !e.closest(".scroll") && !e.closest("svg")
    && e.getBoundingClientRect().right > innerWidth + 1 && getComputedStyle(e).position !== "absolute");
  faults.push(...out.map((e) => e.className || e.tagName));
  const main = document.getElementById("main-table").parentElement;
  if (innerWidth >= 1024 && main.scrollWidth > main.clientWidth + 1) faults.push("the main table is clipped");
  return faults;
"""


@pytest.fixture(scope="module")
def crowded(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Long names, wide intervals so that the lines of baseline and teacher are close, a collapsed arm."""
    arms = [*ARMS, *[f"a long name/that arms share/number {i} of them/at {i % 7} degrees" for i in range(20)], "broken"]

    def value(arm: str, seed: int) -> float:
        return (
            [0.28, 0.1, 0.3][seed] if arm == "broken" else 0.7 + 0.01 * np.random.default_rng([seed, len(arm)]).normal()
        )

    return built(make_store(tmp_path_factory.mktemp("crowded"), arms, range(3), value))[1]


@pytest.mark.parametrize(
    "width", [pytest.param(w, marks=[] if w in (390, 1280) else pytest.mark.slow) for w in (390, 640, 1024, 1280, 1920)]
)
def test_no_text_covers_another_or_sticks_out(tmp_path: Path, browser: Browser, crowded: str, width: int) -> None:
    assert shown(browser, tmp_path, crowded, width=width).run(FAULTS) == []
    assert browser.messages == []


@pytest.fixture(scope="module")
def five(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The page of five arms on three seeds."""
    return built(make_store(tmp_path_factory.mktemp("five"), ARMS, range(3)))[1]


@pytest.fixture(scope="module")
def sixty(tmp_path_factory: pytest.TempPathFactory) -> tuple[Page, str, Results]:
    """Sixty arms on four seeds; one trial failed."""
    folder, states = tmp_path_factory.mktemp("sixty"), {("arm 7", 1): "failed"}
    return built(make_store(folder, [f"arm {i}" for i in range(60)], range(4), states=states, epochs=2))


def test_the_page_can_be_used(tmp_path: Path, browser: Browser, sixty: tuple[Page, str, Results]) -> None:
    """Sorting uses exact values, the theme button redraws, hidden rows appear on request, and texts to copy exist."""
    _, text, study = sixty
    shown(browser, tmp_path, text)
    reported = browser.run("""
      const cells = (id, key) => [...document.querySelectorAll(`#${id} td[data-col="${key}"]`)];
      const heads = [...document.querySelectorAll("#main-table thead tr:last-child th")];
      const head = heads.find((h) => h.textContent === "mean");
      const values = () => cells("main-table", "test_acc_mean").map((c) => Number(c.dataset.value));
      const first = values();
      head.click(); head.click();
      const sorted = values(), how = head.getAttribute("aria-sort");
      head.click();
      const restored = values().every((v, i) => v === first[i]) && !head.hasAttribute("aria-sort");
      const before = getComputedStyle(document.body).backgroundColor;
      document.getElementById("theme").click();
      const after = getComputedStyle(document.body).backgroundColor;
      const rows = document.querySelectorAll("#all-trials tbody tr").length;
      document.querySelector("#all-trials").closest(".scroll").nextElementSibling.querySelector("button.more").click();
      const late = document.querySelector("#all-trials tbody tr:last-child");
      return {
        sorted, how, restored, changed: before !== after, rows,
        all: document.querySelectorAll("#all-trials tbody tr").length,
        last: { arm: late.dataset.arm, shown: late.querySelector('[data-col="test_acc"]').textContent,
                value: Number(late.querySelector('[data-col="test_acc"]').dataset.value) },
        current: document.querySelectorAll("nav [aria-current]").length,
        copies: [...document.querySelectorAll("pre")].map((p) => p.textContent.slice(0, 40)),
      };""")
    assert browser.messages == []
    assert reported["sorted"] == sorted(reported["sorted"], reverse=True)
    assert len(reported["sorted"]) == 60
    assert (reported["how"], reported["restored"], reported["changed"]) == ("descending", True, True)
    assert (reported["rows"], reported["all"]) == (200, 240)
    last = study.trials.set_index(["arm", "seed"]).loc[(reported["last"]["arm"], 3), "test_acc"]
    assert reported["last"]["value"] == pytest.approx(last, rel=1e-6)
    assert reported["last"]["shown"] == f"{100 * last:.1f}"
    assert reported["current"] == 1
    assert reported["copies"][0].startswith("% needs")


def test_tables_filter_and_sort_with_the_rows_that_are_not_built_yet(
    tmp_path: Path, browser: Browser, sixty: tuple[Page, str, Results]
) -> None:
    """Also in the table of pairs, whose numbers the page writes as Python does."""
    shown(browser, tmp_path, sixty[1], drawn=False)
    ask = """
      const table = document.getElementById("all-trials");
      const field = table.closest(".scroll").previousElementSibling.querySelector("input");
      const count = field.closest(".tools").querySelector("output");
      const visible = () => [...table.tBodies[0].rows].filter((r) => !r.hidden).length;
      const out = [];
      for (const words of %s) {
        field.value = words;
        field.dispatchEvent(new Event("input", { bubbles: true }));
        await new Promise((done) => setTimeout(done, 300));
        out.push([visible(), count.textContent]);
      }
      return out;"""
    words = ["Arm  59", "failed arm 7", "nothing has this", ""]
    assert browser.run(ask % json.dumps(words)) == [
        [4, "4 of 240 rows"],
        [1, "1 of 240 rows"],
        [0, "0 of 240 rows"],
        [240, ""],
    ]
    pairs = browser.run("""
      const fold = document.querySelector("#fig-matrix details");
      fold.open = true;
      await new Promise((done) => setTimeout(done, 100));
      const table = fold.querySelector("table");
      const before = table.tBodies[0].rows.length;
      const head = [...table.tHead.rows[0].cells].find((h) => h.textContent === "Points");
      head.querySelector("button").click();
      const numbers = (row) => [...row.cells].slice(2).map((c) => [c.dataset.value, c.textContent]);
      const rows = [...table.tBodies[0].rows].map(numbers);
      const words = fold.textContent.includes("Click a column heading to sort.");
      return { before, rows, sort: head.getAttribute("aria-sort"), words };
    """)
    assert (pairs["before"], len(pairs["rows"]), pairs["sort"], pairs["words"]) == (
        200,
        50 * 49 // 2,
        "ascending",
        True,
    )
    values = [float(difference[0]) for difference, _ in pairs["rows"]]
    assert values == sorted(values)
    for (value, text), (p, p_text) in pairs["rows"]:
        assert text in {formatting.points(float(value), digits) for digits in range(4)}
        assert p_text == formatting.p_value(float(p))


NAMES = ["baseline", "kd, T=4", "a&b#c%20", "100%", "=,=", "שלום", "🧪 emoji", "x" * 120, "kd", "kd "]


@pytest.mark.parametrize(
    ("hash", "picked", "unknown"),
    [
        ("#arms=kd", ["kd"], ""),
        ("#arms=kd,baseline", ["baseline", "kd"], ""),
        ("#arms=kd,nothing", ["kd"], "“nothing”"),
        ("#arms=nothing,nobody", [], "“nothing”, “nobody”"),
        ("#arms=<img src=x>", [], "“<img src=x>”"),
        ("#arms=kd, T=4,kd", ["kd, T=4", "kd"], ""),
        ("#arms=kd%2C%20T%3D4", ["kd, T=4"], ""),
        ("#pairs&arms=100%,100%25", ["100%"], ""),
        ("#arms==,=", ["=,="], ""),
        ("#arms=", [], ""),
        ("#pairs", [], ""),
        ("#arms=kd%20(2)", ["kd (2)"], ""),
        *((f"#pairs&arms={quote(name, safe='')}", [name], "") for name in NAMES[:-1]),
        (f"#arms={','.join(quote(name, safe='') for name in NAMES[:-1])}&theme=dark", NAMES[:-1], ""),
    ],
)
def test_a_link_picks_arms(link: Browser, hash: str, picked: list[str], unknown: str) -> None:
    """And the address that the page shows picks the same ones again."""
    told = """return { picked: [...picked].sort((a, b) => a - b).map((i) => arms.names[i]), hash: location.hash,
      note: document.querySelector(".arms-note").textContent,
      boxes: document.querySelectorAll("#arm-picker li :checked").length,
      rows: document.querySelectorAll("#main-table tr.picked").length, theme: document.documentElement.dataset.theme,
      panel: Math.abs(document.getElementById("pairs").getBoundingClientRect().top) < 60 };"""
    link.run("note(''); pickArms([]); location.hash = ''; scrollTo(0, 0);")
    link.run(f"location.hash = {json.dumps(hash)}; await new Promise((done) => setTimeout(done, 60));")
    if "pairs" in hash:  # the place of a panel depends on the figures above it
        link.drawn()
    first = link.run(told)
    assert first["picked"] == sorted(picked, key=[*NAMES[:-1], "kd (2)"].index)
    assert first["boxes"] == first["rows"] == len(picked)
    assert unknown in first["note"]
    assert bool(first["note"]) == bool(unknown)
    assert first["panel"] == hash.startswith("#pairs")
    assert (first["theme"] == "dark") == ("dark" in hash)
    link.run("note(''); pickArms([]);")
    link.run(f"location.hash = {json.dumps(first['hash'])}; await new Promise((done) => setTimeout(done, 60));")
    again = link.run(told)
    assert again["picked"] == first["picked"]
    assert not again["note"]
    link.run("chosen = null; setTheme();")


@pytest.fixture(scope="module")
def link(browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    folder = tmp_path_factory.mktemp("link")
    _, text, _ = built(make_store(folder / "store", NAMES, range(2), epochs=2))
    yield shown(browser, folder, text)
    assert browser.messages == []


def test_picks_and_theme_survive_a_reload_and_a_click_on_the_contents(
    tmp_path: Path, browser: Browser, five: str
) -> None:
    shown(browser, tmp_path, five)
    told = """return { picked: [...picked].map((i) => arms.names[i]), theme: document.documentElement.dataset.theme,
      hash: location.hash, rows: document.querySelectorAll("tr.picked").length > 3,
      summary: document.querySelector("#arm-picker summary").textContent,
      faint: document.getElementById("plot-agreement-0").data.map((t) => t.opacity ?? 1) };"""
    browser.run(
        "document.querySelectorAll('#arm-picker li input')[1].click(); document.getElementById('theme').click();"
    )
    browser.drawn()
    before = browser.run(told)
    assert before["hash"] == "#arms=kd&theme=dark"
    assert (before["picked"], before["theme"], before["rows"]) == (["kd"], "dark", True)
    assert before["summary"] == "Arms: 1 picked"
    assert sorted(before["faint"]) == [0.15] * 4 + [1]
    browser.run("document.querySelector('nav a[href$=curves]').click(); await new Promise((d) => setTimeout(d, 60));")
    assert browser.run(told)["hash"] == "#curves&arms=kd&theme=dark"
    browser.reload()
    assert browser.run(told) == before | {"hash": "#curves&arms=kd&theme=dark"}
    browser.run("document.getElementById('arms-clear').click(); document.getElementById('theme').click();")
    browser.drawn()
    assert browser.run(told)["hash"] == "#curves&theme=light"
    assert browser.messages == []


def test_arms_are_picked_with_the_keyboard(tmp_path: Path, browser: Browser, five: str) -> None:
    shown(browser, tmp_path, five, drawn=False).run("document.querySelector('#arm-picker summary').focus();")
    for key, code in (("Tab", 9), (" ", 32)):
        for kind in ("keyDown", "keyUp"):
            text = " " if (key, kind) == (" ", "keyDown") else ""
            browser.call("Input.dispatchKeyEvent", type=kind, key=key, text=text, windowsVirtualKeyCode=code)
    assert browser.run("return [...picked].map((i) => arms.names[i])") == ["baseline"]


def test_figures_and_numbers_are_saved_as_the_command_writes_them(tmp_path: Path, browser: Browser) -> None:
    """The files of a click: SVG and PNG of a column and a page, and CSV of every figure, equal byte by byte."""
    _, text, results = built(make_nasty_store(tmp_path / "store"))
    script = """
      const seen = [];
      HTMLAnchorElement.prototype.click = function () { seen.push([this.download, this.href]); };
      const texts = new Map();
      const make = URL.createObjectURL;
      URL.createObjectURL = (blob) => {
        const address = make.call(URL, blob);
        texts.set(address, blob);
        return address;
      };
      const bars = [...document.querySelectorAll(".save")];
      for (const bar of bars) bar.querySelector("[data-save=csv]").click();
      for (const button of document.querySelectorAll("[data-file]")) button.click();
      const before = document.documentElement.dataset.theme;
      document.getElementById("theme").click();
      const last = bars.find((bar) => bar.querySelectorAll("select").length === 2);
      last.querySelector("select").selectedIndex = 1;
      for (const kind of ["svg", "png"]) bars[0].querySelector(`[data-save=${kind}]`).click();
      last.querySelectorAll("select")[1].value = "page";
      last.querySelector("[data-save=svg]").click();
      while (seen.length < bars.length + 6) await new Promise((done) => setTimeout(done, 50));
      const files = {};
      for (const [name, address] of seen) {
        const bytes = new Uint8Array(await texts.get(address).arrayBuffer());
        files[name] = name.endsWith(".png") ? [...bytes.slice(0, 24)] : new TextDecoder().decode(bytes);
      }
      return { files, violations, dark: before !== document.documentElement.dataset.theme };"""
    reported = shown(browser, tmp_path, text).run(script)
    assert browser.messages == []
    assert reported["violations"] == []
    assert reported["dark"]  # saving leaves the theme as it was
    found = paper_figures.saved("ablation", [panel(results.facts) for panel in PANELS])
    files = reported["files"]
    tables = {f"{one.table}.csv": table_csv(one.plot.table) for one in found}
    assert {name: files[name] for name in tables} == tables
    for suffix, make in ((".csv", comma_separated), (".tex", latex), (".md", markdown)):
        assert files[f"ablation-main-table{suffix}"] == make(results.facts)
    svg = files["ablation-accuracy.svg"]
    assert svg.startswith("<svg")
    assert 'width="420"' in svg
    assert "#16191d" in svg or "rgb(22, 25, 29)" in svg  # the ink of the light theme
    assert re.search("&(lt|#60);img", svg)
    png = files["ablation-accuracy.png"]
    assert int.from_bytes(bytes(png[16:20])) == 3 * 420
    second = next(one for one in found if one.number == 1)
    assert 'width="680"' in files[f"{second.file}.svg"]


@pytest.mark.slow
def test_a_figure_is_printed_alone_on_a_page_of_its_size(tmp_path: Path, browser: Browser) -> None:
    _, text, results = built(make_store(tmp_path / "store", ARMS[:2], range(3)))
    shown(browser, tmp_path, text).run("await showAlone('accuracy-0', 'column')")
    alone = browser.call("Page.printToPDF", printBackground=True, preferCSSPageSize=True)
    content = base64.b64decode(alone["data"])
    assert len(re.findall(rb"/Type\s*/Page[^s]", content)) == 1
    (one, *_) = paper_figures.saved("ablation", [panel(results.facts) for panel in PANELS])
    height = paper_figures.for_paper(one, "column")["layout"]["height"]
    size = re.search(rb"/MediaBox\s*\[0 0 ([\d.]+) ([\d.]+)\]", content)
    assert size
    assert [float(side) for side in size.groups()] == pytest.approx([0.75 * 420, 0.75 * height], abs=1)
    assert b"/Subtype /Image" not in content
    assert b"(ablation-accuracy)" in content  # the title, which browsers propose as the name of the file


def axe_core() -> str:
    root = Path(__file__).parents[2]
    places = [os.environ.get("AXE_CORE", ""), str(root / "node_modules" / "axe-core" / "axe.min.js")]
    path = next((p for p in places if p and Path(p).is_file()), "")
    if not path:
        pytest.skip("axe-core is not installed: `npm install --no-save axe-core`, or AXE_CORE=path/to/axe.min.js")
    return Path(path).read_text(encoding="utf-8")


@pytest.mark.parametrize("name", ["nasty", "search", pytest.param("depth", marks=pytest.mark.slow)])
def test_axe_finds_no_violation_of_level_a_or_aa_in_any_state(tmp_path: Path, browser: Browser, name: str) -> None:
    """Open and light; then also with picked arms and a filtered and sorted table, and dark."""
    rules = axe_core()
    _, text, _ = built(STORES[name](tmp_path / "store"))
    shown(browser, tmp_path, text).run(f"{rules}; window.axe = axe;")
    check = """
      const tags = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"];
      const found = await axe.run({ runOnly: { type: "tag", values: tags } });
      return found.violations.map((v) => [v.id, v.help, v.nodes.slice(0, 3).map((n) => n.html.slice(0, 200))]);"""
    browser.run("document.querySelectorAll('details').forEach((d) => { d.open = true; });")
    assert browser.run(check) == []
    browser.run("""
      document.querySelectorAll("#arm-picker li input").forEach((box, i) => { if (i < 2) box.click(); });
      const field = document.querySelector("main .tools input");
      if (field) { field.value = "a"; field.dispatchEvent(new Event("input", { bubbles: true })); }
      document.querySelector("main th button").click();
      document.getElementById("theme").click();""")
    browser.drawn()
    assert browser.run(check) == []


def test_a_page_of_several_studies_is_drawn(tmp_path: Path, browser: Browser) -> None:
    stores = [read(make_store(tmp_path / n, ARMS, range(s))) for n, s in (("a", 3), ("b", 4))]
    text = comparison.render({"first <b>": stores[0], "second": stores[1]})
    assert shown(browser, tmp_path, text).run("return violations") == []
    assert browser.messages == []
    assert "first <b>" in Page(browser.run("return document.documentElement.outerHTML")).text


def test_it_prints(tmp_path: Path, browser: Browser, five: str) -> None:
    """As a PDF of a few pages."""
    printed = shown(browser, tmp_path, five).call("Page.printToPDF", printBackground=True)
    content = base64.b64decode(printed["data"])
    assert content.startswith(b"%PDF")
    assert 5 <= len(re.findall(rb"/Type\s*/Page[^s]", content)) <= 40
