"""The page in headless Chromium: no console message, no request, no axe violation, any width, print.

Skipped without Chromium. The axe tests also need axe-core: `npm install --no-save axe-core` in the root of the
repository, or AXE_CORE=path/to/axe.min.js.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from scl.report import PANELS, comparison, paper_figures
from scl.report.csv_text import table_csv
from scl.report.formatting import plain, shorten
from scl.report.paper_table import comma_separated, latex, markdown
from scl.report.theme import WIDE
from scl.store.files import Folder
from tests.support.pages import NASTY, Page, built
from tests.support.synthetic import (
    accuracy,
    make_depth_store,
    make_image_store,
    make_search_store,
    make_self_taught_store,
    make_store,
)

ARMS = ["baseline", "kd", "channel", "spatial", "channel+spatial"]
FLAGS = (
    "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync --hide-scrollbars --force-prefers-reduced-motion "
    '--host-resolver-rules="MAP * ~NOTFOUND" --virtual-time-budget=300000'
)


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

# Parts of a copy of the page: the listener at its start records every violation of the policy; the probe is at its end.
LISTENER = """<script>
const violations = [];
document.addEventListener("securitypolicyviolation", (e) => violations.push(e.blockedURI));
</script>"""
PROBE = """<script>
function reported(value) {
  const out = document.createElement("script");
  out.type = "application/json";
  out.id = "reported";
  out.textContent = JSON.stringify(value).replaceAll("<", "\\\\u003c");
  document.body.append(out);
}
async function ready() {
  while ([...document.querySelectorAll(".plot")].some((d) => d.dataset.drawn !== "yes")) {
    await new Promise((done) => setTimeout(done, 50));
  }
}
</script>"""


@pytest.fixture(scope="session")
def chromium() -> str:
    path = next((p for p in ("chromium", "chromium-browser", "google-chrome") if shutil.which(p)), "")
    if not path:
        pytest.skip("no Chromium on this machine")
    return path


def run(chromium: str, folder: Path, page: str, script: str, *flags: str) -> tuple[Any, Page, list[str]]:
    """What the script reported, the page at that moment, and console messages. script: body of an async function."""
    file = folder / "probed.html"
    body = f"{PROBE}<script>(async () => {{ await ready(); {script} }})();</script></body>"
    heard = page.replace('<meta charset="utf-8">', '<meta charset="utf-8">' + LISTENER, 1)
    file.write_text(body.join(heard.rsplit("</body>", 1)), encoding="utf-8")
    command = [chromium, *re.findall(r'(?:[^\s"]|"[^"]*")+', FLAGS), *flags, f"--user-data-dir={folder / 'profile'}"]
    command = [part.replace('"', "") for part in command]
    done = subprocess.run(
        [*command, "--enable-logging=stderr", "--dump-dom", f"file://{file}"],
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    drawn = Page(done.stdout)
    complaints = [line for line in done.stderr.splitlines() if "CONSOLE" in line and "MathJax" not in line]
    reported = next((text for a, text in drawn.scripts if a.get("id") == "reported"), None)
    assert reported is not None, (done.stderr[-2000:], done.stdout[-500:])
    return json.loads(reported), drawn, complaints


@pytest.mark.parametrize("name", STORES)
def test_the_page_is_drawn_without_a_message_or_a_request(tmp_path: Path, chromium: str, name: str) -> None:
    page, text, _ = built(STORES[name](tmp_path / "store"))
    script = """reported({
      asked: performance.getEntriesByType("resource").map((e) => e.name),
      violations,
      wide: document.documentElement.scrollWidth - innerWidth,
      cloud: [...document.querySelectorAll(".modebar-btn")].map((b) => b.dataset.title)
        .filter((t) => /cloud|edit|share/i.test(t)),
      gl: document.querySelectorAll("canvas").length,
    });"""
    reported, drawn, complaints = run(chromium, tmp_path, text, script)
    assert reported == {"asked": [], "violations": [], "wide": 0, "cloud": [], "gl": 0}
    assert complaints == []
    assert sum(1 for _, a in drawn.tags if a.get("data-drawn") == "yes") == len(page.figures())
    assert not {"img", "b"} & {tag for tag, _ in drawn.tags}
    if name == "nasty":
        shown = drawn.text.replace("\u2068", "").replace("\u2069", "")
        assert all(shorten(plain(arm), WIDE) in shown for arm in NASTY)


@pytest.mark.parametrize(
    "width", [380, pytest.param(800, marks=pytest.mark.slow), pytest.param(1600, marks=pytest.mark.slow)]
)
def test_nothing_sticks_out_at_any_width(tmp_path: Path, chromium: str, width: int) -> None:
    """In a frame of that width, because a window of Chromium is at least 500 pixels wide."""
    _, text, _ = built(make_store(tmp_path / "store", [*ARMS, "a name that is very long " * 5], range(3)))
    inner = tmp_path / "inner.html"
    inner.write_text(text, encoding="utf-8")
    frame = f'<!DOCTYPE html><body><iframe width="{width}" height="900" srcdoc=""></iframe></body>'
    script = """
      const frame = document.querySelector("iframe");
      const source = JSON.parse(document.getElementById("inner").textContent);
      frame.srcdoc = source;
      await new Promise((done) => { frame.onload = done; });
      const inside = frame.contentDocument;
      while ([...inside.querySelectorAll(".plot")].some((d) => d.dataset.drawn !== "yes")) {
        await new Promise((done) => setTimeout(done, 50));
      }
      const out = [...inside.querySelectorAll("main *")].filter((e) => !e.closest(".scroll") && !e.closest("svg")
        && e.getBoundingClientRect().right > frame.clientWidth + 1 && getComputedStyle(e).position !== "absolute");
      const wide = inside.documentElement.scrollWidth - frame.clientWidth;
      reported({ wide, out: out.map((e) => e.className || e.tagName) });
    """
    packed = json.dumps(text).replace("<", "\\u003c")
    holder = f'<script type="application/json" id="inner">{packed}</script>'
    reported, _, complaints = run(
        chromium, tmp_path, frame.replace("</body>", holder + "</body>"), script, "--window-size=1700,1000"
    )
    assert reported == {"wide": 0, "out": []}
    assert complaints == []


def test_the_page_can_be_used(tmp_path: Path, chromium: str) -> None:
    """Sorting uses exact values, the theme button redraws, hidden rows appear on request, and texts to copy exist."""
    _, text, study = built(make_store(tmp_path / "store", [f"arm {i}" for i in range(60)], range(4)))
    script = """
      const cells = (id, key) => [...document.querySelectorAll(`#${id} td[data-col="${key}"]`)];
      const heads = [...document.querySelectorAll("#main-table thead tr:last-child th")];
      const head = heads.find((h) => h.textContent === "mean");
      head.click(); head.click();
      const sorted = cells("main-table", "test_acc_mean").map((c) => Number(c.dataset.value));
      const before = getComputedStyle(document.body).backgroundColor;
      document.getElementById("theme").click();
      const after = getComputedStyle(document.body).backgroundColor;
      const rows = document.querySelectorAll("#all-trials tbody tr").length;
      document.querySelector("[data-rest]").click();
      const late = document.querySelector("#all-trials tbody tr:last-child");
      reported({
        sorted, changed: before !== after, rows, all: document.querySelectorAll("#all-trials tbody tr").length,
        last: { arm: late.dataset.arm, shown: late.querySelector('[data-col="test_acc"]').textContent,
                value: Number(late.querySelector('[data-col="test_acc"]').dataset.value) },
        current: document.querySelectorAll("nav [aria-current]").length,
        copies: [...document.querySelectorAll("pre")].map((p) => p.textContent.slice(0, 40)),
      });"""
    reported, _, complaints = run(chromium, tmp_path, text, script)
    assert complaints == []
    assert reported["sorted"] == sorted(reported["sorted"], reverse=True)
    assert len(reported["sorted"]) == 60
    assert reported["changed"]
    assert reported["rows"] == 200
    assert reported["all"] == 240
    last = study.trials.set_index(["arm", "seed"]).loc[(reported["last"]["arm"], 3), "test_acc"]
    assert reported["last"]["value"] == pytest.approx(last, rel=1e-6)
    assert reported["last"]["shown"] == f"{100 * last:.1f}"
    assert reported["current"] == 1
    assert reported["copies"][0].startswith("% needs")


def test_figures_and_numbers_are_saved_as_the_command_writes_them(tmp_path: Path, chromium: str) -> None:
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
      reported({ files, violations, dark: before !== document.documentElement.dataset.theme });"""
    reported, _, complaints = run(chromium, tmp_path, text, script)
    assert complaints == []
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
def test_a_figure_is_printed_alone_on_a_page_of_its_size(tmp_path: Path, chromium: str) -> None:
    _, text, results = built(make_store(tmp_path / "store", ARMS[:2], range(3)))
    file = tmp_path / "page.html"
    script = f'{PROBE}<script>(async () => {{ await ready(); await showAlone("accuracy-0", "column"); }})();</script>'
    file.write_text(text.replace("</body>", f"{script}</body>"), encoding="utf-8")
    content = printed(chromium, file)
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


@pytest.mark.parametrize("name", ["nasty", "search", "depth"])
def test_axe_finds_no_violation_of_level_a_or_aa_in_both_themes(tmp_path: Path, chromium: str, name: str) -> None:
    rules = axe_core().replace("</script", "<\\/script")
    _, text, _ = built(STORES[name](tmp_path / "store"))
    open_all = "document.querySelectorAll('details').forEach((d) => { d.open = true; });"
    tags = '["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]'
    script = f"""{open_all}
      const out = {{}};
      for (const round of [1, 2]) {{
        const found = await axe.run({{ runOnly: {{ type: "tag", values: {tags} }} }});
        const about = (v) => [v.id, v.help, v.nodes.slice(0, 3).map((n) => n.html.slice(0, 200))];
        out[document.documentElement.dataset.theme] = found.violations.map(about);
        document.getElementById("theme").click();
        await ready();
      }}
      reported(out);"""
    reported, _, _ = run(chromium, tmp_path, text.replace("</body>", f"<script>{rules}</script></body>"), script)
    assert reported == {"light": [], "dark": []}


def test_a_page_of_several_studies_is_drawn(tmp_path: Path, chromium: str) -> None:
    stores = [built(make_store(tmp_path / n, ARMS, range(s)))[2] for n, s in (("a", 3), ("b", 4))]
    text = comparison.render({"first <b>": stores[0], "second": stores[1]})
    reported, drawn, complaints = run(chromium, tmp_path, text, "reported(violations);")
    assert reported == []
    assert complaints == []
    assert "first <b>" in drawn.text


def test_it_prints(tmp_path: Path, chromium: str) -> None:
    """As a PDF of a few pages."""
    _, text, _ = built(make_store(tmp_path / "store", ARMS, range(3), accuracy(dict.fromkeys(ARMS, 0.0))))
    file = tmp_path / "page.html"
    file.write_text(text, encoding="utf-8")
    content = printed(chromium, file)
    assert content.startswith(b"%PDF")
    assert 5 <= len(re.findall(rb"/Type\s*/Page[^s]", content)) <= 40


def printed(chromium: str, page: Path) -> bytes:
    """The PDF of a page that is printed."""
    pdf = page.with_suffix(".pdf")
    flags = [part.replace('"', "") for part in re.findall(r'(?:[^\s"]|"[^"]*")+', FLAGS)]
    command = [chromium, *flags, f"--user-data-dir={page.parent / 'profile'}", "--no-pdf-header-footer"]
    subprocess.run([*command, f"--print-to-pdf={pdf}", f"file://{page}"], capture_output=True, timeout=240, check=True)
    return pdf.read_bytes()
