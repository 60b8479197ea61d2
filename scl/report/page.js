// Copying. If the browser forbids it, the text is shown and selected; the address bar holds the link.
const toast = document.getElementById("toast");
let toasts = 0;
function notify(text, seconds = 2) {
  const number = ++toasts;
  toast.textContent = text;
  setTimeout(() => { if (number === toasts) toast.textContent = ""; }, 1000 * seconds);
}
function copy(text) {
  return navigator.clipboard ? navigator.clipboard.writeText(text) : Promise.reject(new Error("no clipboard"));
}
for (const anchor of document.querySelectorAll("a.anchor")) {
  anchor.addEventListener("click", () => {
    const address = location.href.replace(/#.*/, "") + linkTo(anchor.hash.slice(1));
    copy(address).then(() => notify("Link copied"), () => {});
  });
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
// So is the list of arms; beside the page it is open.
if (innerWidth < 1240) contents.open = false;
else if (armBox) armBox.open = true;
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

followLink(true);
performance.mark("ready");
