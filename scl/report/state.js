"use strict";
// What a reload keeps and a link carries: the theme, the picked arms and the panel.
const root = document.documentElement;

// In this window alone; some browsers keep nothing for files.
const keptUnder = `scl ${location.pathname}`;
function kept() {
  try { return JSON.parse(sessionStorage.getItem(keptUnder)) ?? {}; } catch { return {}; }
}
function keep(values) {
  try { sessionStorage.setItem(keptUnder, JSON.stringify({ ...kept(), ...values })); } catch { /* nothing is kept */ }
}

// Text i of a list that holds equal ones once.
function codedText(coded, i) {
  return coded.all ?? coded.texts[coded.at ? coded.at[i] : i];
}

// The arms of the page; a place in this list stands for an arm everywhere else.
const listed = document.getElementById("arm-list");
const arms = listed ? JSON.parse(listed.textContent) : { names: [], stored: {} };
const placeOfName = new Map(arms.names.map((name, i) => [name, i]));
// Rows hold the name as it is stored, as HTML reads it.
const placeOfRow = new Map(arms.names.map((name, i) => {
  const stored = arms.stored[i] ?? name;
  return [stored.replace(/\r\n?/g, "\n").replaceAll("\0", "\ufffd"), i];
}));
const picked = new Set();

// An address ends in #PANEL, #arms=kd,scl or #theme=dark, or in several of them with & between. A name is encoded, so
// that it may hold a comma, & or %.
function encoded(text) {
  try { return encodeURIComponent(text); } catch { return encodeURIComponent(text.replace(/[\ud800-\udfff]/g, "\ufffd")); }
}
function decoded(text) {
  return text.replace(/(%[0-9a-f]{2})+/gi, (part) => {
    try { return decodeURIComponent(part); } catch { return part; }
  });
}
const mostCommas = Math.max(0, ...arms.names.map((name) => name.split(",").length - 1));

// Places of the named arms, and the names that the page does not have.
function namedArms(text) {
  const parts = text.split(",").filter(Boolean);
  const found = [];
  const unknown = [];
  for (let i = 0; i < parts.length;) {
    // A name typed by hand may hold commas: the longest run of parts that is a name counts.
    let end = Math.min(parts.length, i + mostCommas + 1);
    while (end > i && !placeOfName.has(decoded(parts.slice(i, end).join(",")))) end--;
    if (end > i) found.push(placeOfName.get(decoded(parts.slice(i, end).join(","))));
    else unknown.push(decoded(parts[i]));
    i = Math.max(end, i + 1);
  }
  return { found, unknown };
}
function linked() {
  const out = { panel: "", arms: null, theme: null };
  for (const part of location.hash.slice(1).split("&").filter(Boolean)) {
    const [, key, value] = /^(arms|theme)=(.*)$/.exec(part) ?? [];
    if (key) out[key] = value;
    else out.panel = decoded(part);
  }
  return out;
}
function linkTo(panel) {
  const names = [...picked].sort((a, b) => a - b).map((i) => encoded(arms.names[i]));
  const parts = [panel, names.length ? `arms=${names.join(",")}` : "", chosen ? `theme=${chosen}` : ""];
  const hash = parts.filter(Boolean).join("&");
  return hash ? `#${hash}` : "";
}
function showLink(panel = linked().panel) {
  try { history.replaceState(history.state, "", linkTo(panel) || location.pathname + location.search); } catch { /* as it was */ }
}
function toPanel(panel) {
  document.getElementById(panel)?.scrollIntoView();
}

// The theme of the system, until the reader uses the button or follows a link with another one.
const systemDark = matchMedia("(prefers-color-scheme: dark)");
const themeButton = document.getElementById("theme");
const aTheme = (name) => (name === "dark" || name === "light" ? name : null);
let chosen = aTheme(linked().theme) ?? aTheme(kept().theme);
function setTheme() {
  root.dataset.theme = chosen ?? (systemDark.matches ? "dark" : "light");
  themeButton.textContent = root.dataset.theme === "dark" ? "Light" : "Dark";
}
function choose(theme) {
  chosen = theme;
  keep({ theme });
  setTheme();
  redraw();
}
setTheme();
themeButton.hidden = false;
themeButton.addEventListener("click", () => {
  choose(root.dataset.theme === "dark" ? "light" : "dark");
  showLink();
});
systemDark.addEventListener("change", () => { setTheme(); redraw(); });
