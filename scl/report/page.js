"use strict";
// The page holds its figures as JSON with tokens as colours ("@ink", "@c1/0.14"). It draws a figure when it comes near
// the screen or the browser is idle, and again when the theme changes, the page is printed or its width changes.
const root = document.documentElement;
const figures = JSON.parse(document.getElementById("figures").textContent);
const narrowBelow = 560;
const paperWidth = 680;
const config = {
  responsive: true, displaylogo: false, showSendToCloud: false,
  modeBarButtons: [["resetScale2d"]],
};

// The theme of the system, until the reader uses the button.
const systemDark = matchMedia("(prefers-color-scheme: dark)");
const themeButton = document.getElementById("theme");
// What a reload keeps, in this window alone; some browsers keep nothing for files.
const keptUnder = `scl ${location.pathname}`;
function kept() {
  try { return JSON.parse(sessionStorage.getItem(keptUnder)) ?? {}; } catch { return {}; }
}
function keep(values) {
  try { sessionStorage.setItem(keptUnder, JSON.stringify({ ...kept(), ...values })); } catch { /* nothing is kept */ }
}
let chosen = kept().theme ?? null;
function setTheme() {
  root.dataset.theme = chosen ?? (systemDark.matches ? "dark" : "light");
  themeButton.textContent = root.dataset.theme === "dark" ? "Light" : "Dark";
}
setTheme();
themeButton.hidden = false;
themeButton.addEventListener("click", () => {
  chosen = root.dataset.theme === "dark" ? "light" : "dark";
  keep({ theme: chosen });
  setTheme();
  redraw();
});
systemDark.addEventListener("change", () => { setTheme(); redraw(); });

function colour(token) {
  const [name, alpha] = token.slice(1).split("/");
  const value = getComputedStyle(root).getPropertyValue("--" + name).trim();
  if (!alpha) return value;
  const [r, g, b] = [1, 3, 5].map((i) => parseInt(value.slice(i, i + 2), 16));
  return `rgba(${r},${g},${b},${alpha})`;
}

// A copy with resolved tokens, only under keys that hold colours: a label may start with "@" too.
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

const drawn = new Map(); // element of a figure → whether it is drawn narrow
function draw(div, width) {
  const figure = themed(figures[div.dataset.figure]);
  const narrow = (width ?? div.clientWidth) < narrowBelow;
  if (narrow) for (const [path, value] of Object.entries(figure.narrow)) set(figure.layout, path, value);
  if (width) figure.layout.width = width;
  drawn.set(div, narrow);
  return Plotly.react(div, figure.data, figure.layout, config).then(() => {
    // Screen readers get the name and buttons of the figure; the table below it holds the marks.
    for (const svg of div.querySelectorAll(".main-svg")) svg.setAttribute("aria-hidden", "true");
    div.dataset.drawn = "yes";
  });
}
const plots = [...document.querySelectorAll(".plot")];
function redraw() {
  for (const div of drawn.keys()) draw(div);
}
if (plots.length) {
  const near = new IntersectionObserver((entries) => {
    for (const { isIntersecting, target } of entries) {
      if (isIntersecting && !drawn.has(target)) draw(target);
    }
  }, { rootMargin: "300px" });
  for (const div of plots) near.observe(div);
  const idle = window.requestIdleCallback ?? ((f) => setTimeout(f, 50));
  const next = () => {
    const div = plots.find((d) => !drawn.has(d));
    if (div) draw(div).then(() => idle(next, { timeout: 500 }));
  };
  idle(next, { timeout: 500 });
}
addEventListener("resize", () => {
  for (const [div, narrow] of drawn) if (narrow !== div.clientWidth < narrowBelow) draw(div);
});
addEventListener("beforeprint", () => {
  if (document.getElementById("alone")) return; // export.js prints one figure
  root.dataset.theme = "light";
  for (const div of plots) {
    const columns = getComputedStyle(div.parentElement.parentElement).gridTemplateColumns.split(" ").length;
    draw(div, columns > 1 ? paperWidth / 2 - 12 : paperWidth);
  }
});
addEventListener("afterprint", () => { setTheme(); redraw(); });

// A column heading sorts by exact values, then cells without one by their text.
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

// The rows of a long table that are not part of the HTML.
for (const button of document.querySelectorAll("button[data-rest]")) {
  button.addEventListener("click", () => {
    const rest = JSON.parse(document.getElementById("rest").textContent)[button.dataset.rest];
    const table = document.getElementById(button.dataset.rest);
    const pattern = [...table.tBodies[0].rows[0].cells];
    const text = (coded, i) => coded.texts[coded.at ? coded.at[i] : i];
    const count = (rest.arms.at ?? rest.arms.texts).length;
    const rows = document.createDocumentFragment();
    for (let i = 0; i < count; i++) {
      const row = document.createElement("tr");
      row.dataset.arm = text(rest.arms, i);
      row.className = text(rest.kinds, i);
      rest.columns.forEach((column, j) => {
        const td = row.appendChild(document.createElement(j ? "td" : "th"));
        if (!j) td.scope = "row";
        td.dataset.col = pattern[j].dataset.col;
        td.className = pattern[j].className;
        if (!column.numbers) {
          (td.className ? td : td.appendChild(document.createElement("bdi"))).textContent = text(column, i);
        } else if (column.numbers[i] === null) {
          td.textContent = "–";
        } else {
          td.dataset.value = column.numbers[i];
          td.textContent = (column.scale * column.numbers[i]).toFixed(column.digits);
        }
      });
      rows.append(row);
    }
    table.tBodies[0].append(rows);
    button.parentElement.remove();
  });
}

// Copying. If the browser forbids it, the text is shown and selected; the address bar holds the link.
const toast = document.getElementById("toast");
function notify(text) {
  toast.textContent = text;
  setTimeout(() => { toast.textContent = ""; }, 1800);
}
function copy(text) {
  return navigator.clipboard ? navigator.clipboard.writeText(text) : Promise.reject(new Error("no clipboard"));
}
for (const anchor of document.querySelectorAll("a.anchor")) {
  anchor.addEventListener("click", () => { copy(anchor.href).then(() => notify("Link copied"), () => {}); });
}
for (const button of document.querySelectorAll("button[data-copy]")) {
  button.addEventListener("click", () => {
    const source = document.getElementById(button.dataset.copy);
    copy(source.textContent).then(() => notify("Copied"), () => {
      source.hidden = false;
      getSelection().selectAllChildren(source);
      notify("Press Ctrl+C to copy");
    });
  });
}

// The contents mark the panel on screen. On a narrow screen they start folded and fold again after a click.
const contents = document.querySelector("nav details");
const links = new Map([...contents.querySelectorAll("a")].map((a) => [a.hash.slice(1), a]));
const sections = [...document.querySelectorAll("main > section")];
function follow() {
  const reached = sections.filter((s) => s.getBoundingClientRect().top < innerHeight / 3);
  const current = reached.length ? reached[reached.length - 1] : sections[0];
  for (const [id, link] of links) {
    if (current && id === current.id) link.setAttribute("aria-current", "true");
    else link.removeAttribute("aria-current");
  }
}
let waiting = false;
addEventListener("scroll", () => {
  if (waiting) return;
  waiting = true;
  requestAnimationFrame(() => { waiting = false; follow(); });
}, { passive: true });
follow();
if (innerWidth < 1240) contents.open = false;
contents.addEventListener("click", (event) => {
  if (event.target.closest("a") && innerWidth < 1240) contents.open = false;
});

// A page of a run that goes on loads itself again, and shows the same place; not while text is selected or nobody looks.
const bar = document.getElementById("running");
if (bar) {
  const reloadSeconds = 30;
  const staleSeconds = 900;
  const updated = new Date(bar.dataset.updated);
  const time = bar.querySelector("time");
  if (!Number.isNaN(updated.valueOf())) time.textContent = updated.toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" });
  const pause = document.getElementById("pause");
  const folds = [...document.querySelectorAll("main details")];
  const { at, open = [], paused = false } = kept();
  folds.forEach((fold, i) => { if (open.includes(i)) fold.open = true; });
  const setPaused = (value) => {
    pause.setAttribute("aria-pressed", String(value));
    keep({ paused: value });
  };
  setPaused(paused);
  pause.hidden = false;
  pause.addEventListener("click", () => setPaused(pause.getAttribute("aria-pressed") !== "true"));
  if (at !== undefined) requestAnimationFrame(() => scrollTo({ top: at, behavior: "instant" }));
  setInterval(() => {
    if (Date.now() - updated > 1000 * staleSeconds) {
      bar.querySelector("strong").textContent = "Written while it ran, and not since:";
    }
    const busy = document.hidden || String(getSelection()) || pause.getAttribute("aria-pressed") === "true";
    if (busy) return;
    keep({ at: scrollY, open: folds.flatMap((fold, i) => (fold.open ? [i] : [])) });
    location.reload();
  }, 1000 * reloadSeconds);
}
