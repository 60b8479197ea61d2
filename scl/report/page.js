"use strict";
// Figures stand in the page as JSON whose colours are tokens ("@ink", "@c1/0.14"); they are drawn again whenever
// the theme changes, the page is printed, or the screen becomes narrow or wide.
const figures = JSON.parse(document.getElementById("figures").textContent);
const narrowBelow = 560;
const config = {
  responsive: true, displaylogo: false, showSendToCloud: false,
  modeBarButtons: [["toImage", "resetScale2d"]],
  toImageButtonOptions: { format: "svg" },
};

function colour(token) {
  const [name, alpha] = token.slice(1).split("/");
  const value = getComputedStyle(document.documentElement).getPropertyValue("--" + name).trim();
  if (!alpha) return value;
  const [r, g, b] = [1, 3, 5].map((i) => parseInt(value.slice(i, i + 2), 16));
  return `rgba(${r},${g},${b},${alpha})`;
}

// A copy with tokens resolved. Only under keys that hold colours: a label may start with "@" too.
function themed(value, key) {
  if (Array.isArray(value)) return value.map((item) => themed(item, key));
  if (value && typeof value === "object") {
    return Object.fromEntries(Object.entries(value).map(([k, v]) => [k, themed(v, k)]));
  }
  const isColour = key && /color(scale)?$/.test(key);
  return isColour && typeof value === "string" && value[0] === "@" ? colour(value) : value;
}

function set(object, path, value) {
  const keys = path.split(".");
  const last = keys.pop();
  keys.reduce((inner, key) => (inner[key] ??= {}), object)[last] = value;
}

const drawnNarrow = new Map();
function draw(div) {
  const figure = themed(figures[div.dataset.figure]);
  const narrow = div.clientWidth < narrowBelow;
  if (narrow) for (const [path, value] of Object.entries(figure.narrow)) set(figure.layout, path, value);
  drawnNarrow.set(div, narrow);
  return Plotly.react(div, figure.data, figure.layout, config).then(() => { div.dataset.drawn = "yes"; });
}
const plots = [...document.querySelectorAll(".plot")];
function drawAll() {
  for (const div of plots) draw(div);
}

matchMedia("(prefers-color-scheme: dark)").addEventListener("change", drawAll);
addEventListener("resize", () => {
  for (const div of plots) if (drawnNarrow.get(div) !== div.clientWidth < narrowBelow) draw(div);
});
addEventListener("beforeprint", () => { document.documentElement.dataset.theme = "light"; drawAll(); });
addEventListener("afterprint", () => { delete document.documentElement.dataset.theme; drawAll(); });

// A head sorts by the exact values; cells without one (text, or no number) go by their text, numbers first.
for (const table of document.querySelectorAll("table[data-sortable]")) {
  const heads = [...table.tHead.rows[table.tHead.rows.length - 1].cells];
  heads.forEach((head, column) => head.addEventListener("click", () => {
    const rising = head.getAttribute("aria-sort") !== "ascending";
    for (const other of heads) other.removeAttribute("aria-sort");
    head.setAttribute("aria-sort", rising ? "ascending" : "descending");
    const sign = rising ? 1 : -1;
    const key = (row) => {
      const cell = row.cells[column];
      return "value" in cell.dataset ? Number(cell.dataset.value) : cell.textContent;
    };
    const rows = [...table.tBodies[0].rows].map((row) => [key(row), row]);
    rows.sort(([a], [b]) => {
      if (typeof a !== typeof b) return typeof a === "number" ? -1 : 1;
      return sign * (typeof a === "number" ? a - b : a.localeCompare(b));
    });
    table.tBodies[0].append(...rows.map(([, row]) => row));
  }));
}

// The anchor copies the panel's address; where the browser forbids that, the address bar holds it.
const toast = document.getElementById("toast");
for (const anchor of document.querySelectorAll("a.anchor")) {
  anchor.addEventListener("click", () => {
    navigator.clipboard?.writeText(anchor.href).then(() => {
      toast.textContent = "Link copied";
      setTimeout(() => { toast.textContent = ""; }, 1500);
    }, () => {});
  });
}

// On a narrow screen the contents start folded, so that the verdict is what is seen first.
if (innerWidth < 1240) document.querySelector("nav details").open = false;

if (plots.length) drawAll();
