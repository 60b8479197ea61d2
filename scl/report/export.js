// Saving: each figure as SVG, PNG or PDF for a paper, and its numbers as CSV. What a file for a paper has beside the
// figure of the page stands in the page as JSON, from paper_figures.py; the rules of CSV are those of csv_text.py.
const { figures: paper, traces: keys } = JSON.parse(document.getElementById("paper").textContent);
const pixelDensity = 3;

// The figure in the light theme, in the layout of a column or a page.
function paperFigure(id, width) {
  const theme = root.dataset.theme;
  root.dataset.theme = "light";
  const figure = themed(figures[id]);
  const layout = themed(paper[id][width].layout);
  const traces = themed(keys[paper[id][width].traces]);
  root.dataset.theme = theme;
  const shown = figure.data.filter((trace) => trace.visible !== "legendonly");
  const data = traces.length ? [...shown.map((trace) => ({ ...trace, showlegend: false })), ...traces] : shown;
  const parts = [...(width === "column" ? Object.entries(figure.narrow) : []), ...Object.entries(layout)];
  for (const [path, value] of parts) set(figure.layout, path, value);
  return { data, layout: figure.layout };
}

function picture(id, width, format) {
  const figure = paperFigure(id, width);
  const { width: w, height: h } = figure.layout;
  return Plotly.toImage(figure, { format, width: w, height: h, scale: format === "png" ? pixelDensity : 1 });
}

function download(content, type, name) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([content], { type }));
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);
  notify(`Saved: ${name}`);
}

async function saveImage(id, width, format) {
  const address = await picture(id, width, format);
  const body = address.slice(address.indexOf(",") + 1);
  if (format === "svg") return download(decodeURIComponent(body), "image/svg+xml", `${paper[id].file}.svg`);
  const bytes = Uint8Array.from(atob(body), (character) => character.charCodeAt(0));
  return download(bytes, "image/png", `${paper[id].file}.png`);
}

// The figure alone on a page of its size. Browsers propose the title of the window as the file's name.
async function showAlone(id, width) {
  const address = await picture(id, width, "svg");
  const text = decodeURIComponent(address.slice(address.indexOf(",") + 1));
  const svg = document.importNode(new DOMParser().parseFromString(text, "image/svg+xml").documentElement, true);
  const holder = document.createElement("div");
  holder.id = "alone";
  holder.setAttribute("aria-hidden", "true");
  holder.append(svg);
  const sheet = document.createElement("style");
  sheet.textContent = `@page { size: ${svg.getAttribute("width")}px ${svg.getAttribute("height")}px; margin: 0; }`;
  const title = document.title;
  document.title = paper[id].file;
  document.head.append(sheet);
  document.body.append(holder);
  return () => {
    holder.remove();
    sheet.remove();
    document.title = title;
  };
}

async function savePdf(id, width) {
  const putBack = await showAlone(id, width);
  addEventListener("afterprint", putBack, { once: true });
  print();
}

// The table of numbers with exact values, a line of headings first.
function csv(table) {
  const quoted = (text) => (/[",\n\r]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text);
  const shown = (cell) => (cell.textContent === "–" ? "" : cell.textContent);
  const told = (cell) => cell.dataset.csv ?? cell.dataset.value ?? shown(cell);
  const heads = [...table.tHead.rows[table.tHead.rows.length - 1].cells];
  const rows = [...table.tBodies[0].rows].map((row) => [...row.cells]);
  const wide = heads.map((_, i) => rows.some((cells) => cells[i].dataset.ends));
  const line = (cells, ends) => cells.flatMap((cell, i) => [told(cell), ...(wide[i] ? ends(cell) : [])]).map(quoted).join(",");
  const lines = [line(heads, (head) => [`${told(head)} from`, `${told(head)} to`])];
  for (const cells of rows) lines.push(line(cells, (cell) => cell.dataset.ends?.split(" ") ?? ["", ""]));
  return lines.join("\n") + "\n";
}

for (const bar of document.querySelectorAll(".save")) {
  const figure = bar.closest("figure");
  const [first, second] = bar.querySelectorAll("select");
  const chosen = () => (second ? first.value : figure.querySelector(".plot").dataset.figure);
  const width = second ?? first;
  bar.hidden = false;
  bar.addEventListener("click", ({ target }) => {
    const id = chosen();
    const save = {
      svg: () => saveImage(id, width.value, "svg"),
      png: () => saveImage(id, width.value, "png"),
      pdf: () => savePdf(id, width.value),
      csv: () => download(csv(figure.querySelector("table")), "text/csv", `${paper[id].table}.csv`),
    }[target.dataset?.save];
    save?.();
  });
}

for (const button of document.querySelectorAll("button[data-file]")) {
  button.hidden = false;
  const text = document.getElementById(button.dataset.text);
  button.addEventListener("click", () => download(text.textContent, "text/plain", button.dataset.file));
}
