// The controls, tied to what they change.

let planned = false;
function changed() {
  for (const id of ["alpha", "viewer-alpha"]) {
    at(id).value = Math.round(state.alpha * 100);
    at(id).setAttribute("aria-valuetext", percent(state.alpha));
    at(`${id}-told`).textContent = percent(state.alpha);
    at(id).disabled = state.mode !== "overlay";
  }
  for (const radio of document.querySelectorAll(".segments input")) {
    radio.checked = radio.value === state.mode;
  }
  at("colormap").value = state.colormap;
  if (planned) return;
  planned = true;
  requestAnimationFrame(() => {
    planned = false;
    drawLegend(at("legend"));
    redrawGallery();
    redrawViewer();
  });
}

for (const id of ["modes", "viewer-modes"]) {
  at(id).addEventListener("change", (event) => {
    state.mode = event.target.value;
    changed();
  });
}
for (const id of ["alpha", "viewer-alpha"]) {
  at(id).addEventListener("input", (event) => {
    state.alpha = event.target.value / 100;
    changed();
  });
}
at("colormap").addEventListener("change", (event) => {
  state.colormap = event.target.value;
  changed();
});

const finding = at("finding");
finding.addEventListener("input", arrange);
at("network").addEventListener("input", () => {
  fillCounted();
  fillMatrix();
  arrange();
});
finding.addEventListener("submit", (event) => event.preventDefault());
finding.addEventListener("reset", () => {
  setTimeout(() => {
    fillCounted(); // after the fields are empty
    fillMatrix();
    arrange();
  });
});
at("all").addEventListener("click", () => {
  finding.reset();
  at("text").focus();
});

viewer.addEventListener("close", closed);
addEventListener("resize", fitStage);
viewer.addEventListener("keydown", keys);
viewer.addEventListener("click", (event) => event.target === viewer && viewer.close());
at("close").addEventListener("click", () => viewer.close());
at("before").addEventListener("click", () => go(-1));
at("after").addEventListener("click", () => go(1));
at("boxed").addEventListener("change", drawBoxes);
at("threshold").addEventListener("input", () => {
  at("boxed").checked = true;
  drawBoxes();
});

const THEMES = { Auto: "as the system", Light: "light", Dark: "dark" };
at("theme").addEventListener("click", () => {
  const names = Object.keys(THEMES);
  const label = at("theme").querySelector("span");
  const next = names[(names.indexOf(label.textContent) + 1) % names.length];
  label.textContent = next;
  at("theme").setAttribute("aria-label", `Colours of the page: ${THEMES[next]}`);
  if (next === "Auto") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = next.toLowerCase();
});

// On a small screen the pictures come first, and what finds them is folded away.
const small = matchMedia("(width < 50rem)");
const fold = () => (at("finder").open = !small.matches);
small.addEventListener("change", fold);
fold();

fillChoices();
ask(location.hash.slice(1));
fillCounted();
fillMatrix();
gallery.style.setProperty("--panels", Math.max(1, ...items.map((item) => item.panels.length)));
arrange();
changed();
drawBoxes();
for (const one of cards) {
  one.card.dataset.index = one.item.index;
  near.observe(one.card);
}
document.documentElement.classList.add("ready");
