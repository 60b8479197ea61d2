// Tables sort by their headings and filter by a field. The rows of a long table that are not part of the HTML are built
// on request, or when the table is sorted or filtered.
const fewestToSort = 2;
const fewestToFilter = 8;
const order = new Intl.Collator(undefined, { numeric: true });
const restOfTables = document.getElementById("rest");

const minus = (text) => text.replace("-", "−");
const write = {
  plain: (value, decimals) => minus(value.toFixed(decimals)),
  signed(value, decimals) {
    const text = value.toFixed(decimals);
    return Number(text) === 0 ? text.replace("-", "") : value > 0 ? `+${text}` : minus(text);
  },
  p: (value) => (value < 0.001 ? "< 0.001" : value > 0.9995 ? "> 0.999" : value.toFixed(3)),
};

// Which texts hold what was typed; if none does, which hold all of its words. Neither case nor spaces count.
const plainly = (text) => text.normalize("NFKC").toLowerCase().split(/\s+/).filter(Boolean).join(" ");
function matching(texts, typed) {
  const wanted = plainly(typed);
  const plain = texts.map(plainly);
  const whole = plain.map((text) => text.includes(wanted));
  return whole.includes(true) ? whole : plain.map((text) => wanted.split(" ").every((word) => text.includes(word)));
}

function buildRest(table) {
  const button = table.closest(".scroll").nextElementSibling;
  const rest = JSON.parse(restOfTables.textContent)[table.dataset.rest];
  delete table.dataset.rest;
  const pattern = [...table.tBodies[0].rows[0].cells];
  const rows = document.createDocumentFragment();
  for (let i = 0; i < rest.count; i++) {
    const row = document.createElement("tr");
    row.dataset.arm = codedText(rest.arms, i);
    row.className = codedText(rest.kinds, i);
    rest.columns.forEach((column, j) => {
      const cell = pattern[j].cloneNode();
      for (const of of ["data-value", "data-ends", "data-csv"]) cell.removeAttribute(of);
      row.append(cell);
      if (!column.numbers) {
        (cell.className ? cell : cell.appendChild(document.createElement("bdi"))).textContent = codedText(column.texts || column.all !== undefined ? column : rest.arms, i);
      } else if (column.numbers[i] === null) {
        cell.textContent = "–";
      } else {
        cell.dataset.value = column.numbers[i];
        cell.textContent = write[column.kind](column.factor * column.numbers[i], column.decimals);
      }
    });
    rows.append(row);
  }
  table.tBodies[0].append(rows);
  button.remove();
  markRows(table);
}

function equip(table) {
  const body = table.tBodies[0];
  const all = () => {
    if (table.dataset.rest) buildRest(table);
    return [...body.rows];
  };
  const count = Number(table.dataset.rest ? fewestToFilter : body.rows.length);
  if (count < fewestToSort) return;

  let first = null; // the rows in the order of the page
  const heads = [...table.tHead.rows[table.tHead.rows.length - 1].cells];
  heads.forEach((head, column) => {
    if (!head.textContent.trim()) return;
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    head.append(button);
    head.addEventListener("click", () => {
      const rows = all();
      first ??= rows;
      const before = head.getAttribute("aria-sort");
      for (const other of heads) other.removeAttribute("aria-sort");
      if (before === "descending") {
        body.append(...first);
        return;
      }
      const rising = before !== "ascending";
      head.setAttribute("aria-sort", rising ? "ascending" : "descending");
      const sign = rising ? 1 : -1;
      const key = (row) => {
        const cell = row.cells[column];
        return "value" in cell.dataset ? Number(cell.dataset.value) : cell.textContent;
      };
      // By exact values, then cells without one by their text.
      const keyed = rows.map((row) => [key(row), row]);
      keyed.sort(([a], [b]) => {
        if (typeof a !== typeof b) return typeof a === "number" ? -1 : 1;
        return sign * (typeof a === "number" ? a - b : order.compare(a, b));
      });
      body.append(...keyed.map(([, row]) => row));
    });
  });

  const tools = document.createElement("p");
  tools.className = "tools";
  if (count >= fewestToFilter) {
    const label = document.createElement("label");
    const field = document.createElement("input");
    const shown = document.createElement("output");
    field.type = "search";
    field.autocomplete = "off";
    label.append("Show rows with ", field);
    tools.append(label, shown);
    const filter = () => {
      const typed = field.value.trim();
      const rows = typed ? all() : [...body.rows];
      const text = (row) => [row.dataset.arm ?? "", ...[...row.cells].map((cell) => cell.textContent)].join(" ");
      const found = matching(rows.map(text), typed);
      rows.forEach((row, i) => { row.hidden = !found[i]; });
      const count = (rows) => rows.length.toLocaleString("en");
      shown.textContent = typed ? `${count(found.filter(Boolean))} of ${count(rows)} rows` : "";
    };
    let waiting = 0;
    field.addEventListener("input", () => {
      clearTimeout(waiting);
      waiting = setTimeout(filter, 120);
    });
  }
  const hint = document.createElement("span");
  hint.textContent = "Click a column heading to sort.";
  tools.append(hint);
  table.closest(".scroll").before(tools);
}

for (const table of document.querySelectorAll("table")) {
  if (table.closest("#running")) continue;
  const fold = table.closest("details.numbers");
  if (fold) fold.addEventListener("toggle", () => equip(table), { once: true });
  else equip(table);
}
for (const button of document.querySelectorAll("button.more")) {
  button.addEventListener("click", () => buildRest(button.parentElement.previousElementSibling.querySelector("table")));
}
