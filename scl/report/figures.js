// The page holds its figures as JSON with tokens as colours ("@ink", "@c1/0.14"). It draws a figure when it comes near
// the screen or the browser is idle, and again when the theme or the picked arms change, the page is printed or its
// width changes.
const figures = JSON.parse(document.getElementById("figures").textContent);
const narrowBelow = 560;
const paperWidth = 680;
const config = {
  responsive: true, displaylogo: false, showSendToCloud: false,
  modeBarButtons: [["resetScale2d"]],
};

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

// The picked arms stand out where a figure, or one beside it, has them: all others are faint.
const faint = 0.15;
function has(figure) {
  return [figure.arms, figure.rows, figure.columns].some((of) => of.flat().some((arm) => picked.has(arm)));
}
function highlight(figure) {
  figure.data.forEach((trace, i) => {
    const of = figure.arms[i];
    if (Array.isArray(of)) {
      trace.selectedpoints = of.flatMap((arm, point) => (picked.has(arm) ? [point] : []));
      trace.selected = { marker: { opacity: 1 } };
      trace.unselected = { marker: { opacity: faint } };
    } else if (picked.has(of)) {
      if (trace.visible === "legendonly") trace.visible = true;
    } else if (of >= 0) {
      trace.opacity = faint;
      // The opacity of a trace leaves out its area.
      trace.fillcolor &&= trace.fillcolor.replace(/[\d.]+\)$/, (alpha) => `${faint * parseFloat(alpha)})`);
    }
  });
  for (const [of, axis] of [[figure.rows, "y"], [figure.columns, "x"]]) {
    const other = axis === "y" ? "x" : "y";
    const texts = figure.layout[`${axis}axis`]?.ticktext;
    of.forEach((arm, i) => {
      if (!picked.has(arm)) return;
      if (texts) texts[i] = `<b>${texts[i]}</b>`;
      const place = { [`${axis}0`]: i - 0.5, [`${axis}1`]: i + 0.5, [`${other}0`]: 0, [`${other}1`]: 1, [`${other}ref`]: "paper" };
      const cells = figure.data[0]?.type === "heatmap";
      const look = cells
        ? { line: { color: colour("@ink"), width: 2 } }
        : { fillcolor: colour("@pick"), line: { width: 0 }, layer: "below" };
      (figure.layout.shapes ??= []).unshift({ type: "rect", ...place, ...look });
    });
  }
}

// A legend has as many rows as its names need beside each other in this width.
function fitLegend(figure, width) {
  const names = figure.data.filter((trace) => trace.name && trace.showlegend !== false).map((trace) => trace.name);
  const most = Math.max(...names.map((name) => name.length));
  const beside = Math.max(1, Math.floor((width - 24) / (64 + 7 * most)));
  figure.layout.height += 22 * (Math.ceil(names.length / beside) - Math.ceil(names.length / 3));
}

// Labels in a drawing neither cover each other nor leave it.
function apart(div) {
  const frame = div.getBoundingClientRect();
  const changes = {};
  const placed = [];
  for (const note of div.querySelectorAll(".annotation")) {
    const at = note.querySelector(".annotation-text-g").getBoundingClientRect();
    let [left, top] = [Math.max(frame.left, Math.min(at.left, frame.right - at.width)), at.top];
    const covers = (other) => left < other.right && other.left < left + at.width && top < other.bottom && other.top < top + at.height;
    const step = placed.some(covers) && at.top - frame.top > 1.5 * at.height ? -1 : 1;
    for (let i = 0; i < 8 && placed.some(covers); i++) top += step * (at.height + 1);
    placed.push({ left, top, right: left + at.width, bottom: top + at.height });
    const i = note.dataset.index;
    const shift = (key, by) => { if (Math.abs(by) > 0.5) changes[`annotations[${i}].${key}`] = (div.layout.annotations[i][key] ?? 0) + by; };
    shift("xshift", left - at.left);
    shift("yshift", at.top - top);
  }
  return Object.keys(changes).length ? Plotly.relayout(div, changes) : null;
}

// Plotly does not break the title of an axis: one that is wider than its narrow figure gets lines.
function breakTitles(figure, width) {
  const most = Math.floor((0.6 * width) / 7);
  for (const [key, axis] of Object.entries(figure.layout)) {
    if (!key.startsWith("xaxis") || !axis.title?.text || axis.title.text.length <= most) continue;
    const lines = [""];
    for (const word of axis.title.text.split(" ")) {
      const last = lines[lines.length - 1];
      if (last && last.length + word.length >= most) lines.push(word);
      else lines[lines.length - 1] = last ? `${last} ${word}` : word;
    }
    axis.title.text = lines.join("<br>");
  }
}

const drawn = new Map(); // element of a figure → whether it is drawn narrow
const stale = new Set(); // elements that show an earlier theme or earlier picks
function draw(div, width) {
  const figure = themed(figures[div.dataset.figure]);
  const narrow = (width ?? div.clientWidth) < narrowBelow;
  if (narrow) {
    for (const [path, value] of Object.entries(figure.narrow)) set(figure.layout, path, value);
    breakTitles(figure, width ?? div.clientWidth);
  } else if (figure.layout.showlegend) {
    fitLegend(figure, width ?? div.clientWidth);
  }
  if (width) figure.layout.width = width;
  const beside = [...div.closest("figure").querySelectorAll(".plot")].map((other) => figures[other.dataset.figure]);
  if (picked.size && beside.some(has)) highlight(figure);
  figure.layout.uirevision = "kept"; // zooming and the legend survive a new theme and new picks
  drawn.set(div, narrow);
  stale.delete(div);
  return Plotly.react(div, figure.data, figure.layout, config).then(() => apart(div)).then(() => {
    // Screen readers get the name and buttons of the figure; the table below it holds the marks.
    for (const svg of div.querySelectorAll(".main-svg")) svg.setAttribute("aria-hidden", "true");
    if (!stale.has(div)) div.dataset.drawn = "yes";
  });
}
const plots = [...document.querySelectorAll(".plot")];
const near = new Set();
const idle = window.requestIdleCallback ?? ((f) => setTimeout(f, 50));
let drawing = false;
function drawNext() {
  const div = plots.find((d) => near.has(d) && (!drawn.has(d) || stale.has(d)))
    ?? plots.find((d) => !drawn.has(d) || stale.has(d));
  drawing = div !== undefined;
  if (div) draw(div).then(() => idle(drawNext, { timeout: 500 }));
}
// What is near the screen at once, the rest when the browser has time.
function redraw() {
  for (const div of drawn.keys()) {
    stale.add(div);
    div.dataset.drawn = "no";
  }
  for (const div of near) if (stale.has(div)) draw(div);
  if (!drawing && stale.size) {
    drawing = true;
    idle(drawNext, { timeout: 500 });
  }
}
if (plots.length) {
  const watch = new IntersectionObserver((entries) => {
    for (const { isIntersecting, target } of entries) {
      if (isIntersecting) near.add(target);
      else near.delete(target);
      if (isIntersecting && (!drawn.has(target) || stale.has(target))) draw(target);
    }
  }, { rootMargin: "300px" });
  for (const div of plots) watch.observe(div);
  drawing = true;
  idle(drawNext, { timeout: 500 });
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
