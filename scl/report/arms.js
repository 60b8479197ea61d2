// The list of arms beside the contents: what is picked here stands out in every figure, key and table.
const armBox = document.getElementById("arm-picker");
const mostListed = 300; // entries of the list at once

function markRows(part) {
  for (const row of part.querySelectorAll("[data-arm]")) {
    row.classList.toggle("picked", picked.has(placeOfRow.get(row.dataset.arm)));
  }
}

function swatch(i) {
  const [name, dash, symbol] = codedText(arms.styles, i).split(" ");
  const dashes = { solid: "", dash: "5 3", dot: "1.5 2.5", dashdot: "5 2.5 1.5 2.5", longdash: "9 3" };
  const out = document.createElement("span");
  out.className = "swatch";
  out.style.color = `var(--${name})`;
  out.innerHTML = `<svg viewBox="-16 -6 32 12" aria-hidden="true"><path d="M-16 0H16" stroke="currentColor" `
    + `stroke-width="1.5" stroke-dasharray="${dashes[dash]}"/>${arms.shapes[symbol]}</svg>`;
  return out;
}

function pickArms(places, panel) {
  picked.clear();
  for (const place of places) picked.add(place);
  const summary = armBox.querySelector("summary");
  summary.textContent = picked.size ? `Arms: ${picked.size} picked` : "Arms";
  document.getElementById("arms-clear").disabled = picked.size === 0;
  for (const box of armBox.querySelectorAll("li input")) box.checked = picked.has(Number(box.value));
  markRows(document);
  showLink(panel);
  redraw();
}

function listArms() {
  const list = armBox.querySelector("ul");
  const field = armBox.querySelector("input[type=search]");
  const fits = matching(arms.names, field.value);
  const found = [...arms.names.keys()].filter((i) => fits[i]);
  list.replaceChildren(...found.slice(0, mostListed).map((i) => {
    const item = document.createElement("li");
    const label = document.createElement("label");
    const box = document.createElement("input");
    const name = document.createElement("bdi");
    box.type = "checkbox";
    box.value = i;
    box.checked = picked.has(i);
    name.textContent = arms.short[i] ?? arms.names[i];
    if (arms.short[i]) {
      label.title = arms.names[i];
      box.setAttribute("aria-label", arms.names[i]);
    }
    label.append(box, swatch(i), name);
    item.append(label);
    return item;
  }));
  const more = found.length - mostListed;
  document.getElementById("arms-more").textContent = more > 0
    ? `${more.toLocaleString("en")} more: type a part of their names above.`
    : found.length ? "" : "No arm has this in its name.";
}

function note(text) {
  armBox.querySelector(".arms-note").textContent = text;
}

// The picks of the address; a link without any leaves the present ones.
function followLink(first) {
  const { panel, arms: wanted, theme } = linked();
  if (!first && aTheme(theme) && theme !== chosen) choose(theme);
  if (armBox && wanted !== null) {
    const { found, unknown } = namedArms(wanted);
    note("");
    pickArms(found, panel);
    const item = armBox.querySelector("li:has(:checked)");
    const below = item ? item.offsetTop - armBox.offsetTop : 0;
    if (below > armBox.clientHeight - 40) armBox.scrollTop = below - armBox.clientHeight / 2;
    if (unknown.length) {
      const names = unknown.slice(0, 3).map((name) => `“${name.slice(0, 60)}”`).join(", ");
      const more = unknown.length > 3 ? ` and ${unknown.length - 3} more` : "";
      note(`This page has no arm ${names}${more}; the link names it.`);
      notify(`This page has no arm ${names}${more}.`, 8);
    }
  } else if (!first) {
    showLink(panel);
  }
  const arrived = performance.getEntriesByType("navigation")[0]?.type;
  if (panel && location.hash !== `#${panel}` && !(first && arrived === "reload")) toPanel(panel);
}

if (armBox) {
  armBox.hidden = false;
  const field = document.getElementById("arms-find");
  field.hidden = arms.names.length < fewestToFilter;
  listArms();
  armBox.addEventListener("input", (event) => {
    if (event.target.type === "search") {
      listArms();
      return;
    }
    note("");
    const places = new Set(picked);
    if (event.target.checked) places.add(Number(event.target.value));
    else places.delete(Number(event.target.value));
    pickArms(places);
  });
  document.getElementById("arms-clear").addEventListener("click", () => { note(""); pickArms([]); });
}
addEventListener("hashchange", () => followLink(false));
