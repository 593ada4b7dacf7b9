// All pictures as dots on a plane and as a list below it, both of what the filters leave. A dot that
// is pointed at, tapped, or reached by the arrow keys shows its picture.

const data = JSON.parse(document.getElementById("data").textContent);
const at = (id) => document.getElementById(id);
const wanted = (id) => at(id).value;
const FIELDS = ["strategy", "class", "truth", "right", "text", "colour"];
const STEP = 48; // pictures of the list at first, and more at a press
const NEAR = 22; // how far from a dot a finger may be

const pictures = data.x.map((x, number) => ({
  number,
  x,
  y: data.y[number],
  strategy: data.strategy[number],
  answer: data.answer[number],
  truth: data.truth[number],
  chance: data.chance[number],
  name: data.names[number],
}));
const rightOf = ({ truth, answer }) => (truth < 0 ? null : truth === answer);

let shown = pictures;
let listed = STEP;
let chosen = null;

function make(tag, properties, ...children) {
  const { aria, ...rest } = properties;
  const made = Object.assign(document.createElement(tag), rest);
  for (const [key, value] of Object.entries(aria ?? {})) made.setAttribute(`aria-${key}`, value);
  made.append(...children);
  return made;
}

// What a picture is, in words.
function told(one) {
  const right = rightOf(one);
  const truth = right === false ? `, in truth ${data.labels[one.truth]}` : right ? ", right" : "";
  const place = one.strategy < 0 ? "in no strategy" : `strategy ${one.strategy + 1}`;
  return `${data.labels[one.answer]}, ${one.chance.toFixed(2)}${truth}; ${place}`;
}

// Whether a picture fits the filters, which are read once for all of them.
function filter() {
  const [strategy, answer, truth, right] = ["strategy", "class", "truth", "right"].map(wanted);
  const text = wanted("text").trim().toLowerCase();
  return (one) =>
    (!text || one.name.toLowerCase().includes(text)) &&
    (!strategy || String(one.strategy) === strategy) &&
    (!answer || String(one.answer) === answer) &&
    (!truth || String(one.truth) === truth) &&
    (!right || String(rightOf(one)) === right);
}

function arrange() {
  shown = pictures.filter(filter());
  listed = STEP;
  if (chosen && !shown.includes(chosen)) choose(null);
  const all = pictures.length.toLocaleString("en");
  at("found").textContent =
    shown.length === pictures.length ? `All ${all} pictures` : `${shown.length.toLocaleString("en")} of ${all} pictures`;
  for (const cell of document.querySelectorAll("[data-cell]")) {
    const on = wanted("truth") === cell.dataset.truth && wanted("class") === cell.dataset.said;
    cell.setAttribute("aria-pressed", String(on));
  }
  const report = at("report");
  if (report) report.href = `${data.report}#${inReport()}`;
  const set = new URLSearchParams();
  for (const id of FIELDS) if (wanted(id)) set.set(id, wanted(id));
  history.replaceState(null, "", set.size ? `#${set}` : location.pathname);
  draw();
  list();
}

// The same question as the report's page asks it.
function inReport() {
  const set = new URLSearchParams();
  if (wanted("text")) set.set("text", wanted("text"));
  if (wanted("class")) set.set("class", wanted("class"));
  if (wanted("truth") && wanted("truth") !== "-1") set.set("truth", `=${data.labels[wanted("truth")]}`);
  if (wanted("right")) set.set("right", wanted("right"));
  return set;
}

// The small picture of a number, cut out of its sheet; words where there is none.
function small(one, size) {
  const box = make("span", { className: "small" });
  box.style.width = box.style.height = `${size}px`;
  const tile = data.tiles[one.number];
  if (tile < 0) return box;
  const { side, wide, sheets, each } = data.sprites;
  const [sheet, place] = [Math.floor(tile / each), tile % each];
  const scale = size / side;
  box.style.backgroundImage = `url(${sheets[sheet]})`;
  box.style.backgroundSize = `${wide * size}px auto`;
  box.style.backgroundPosition = `${-(place % wide) * side * scale}px ${-Math.floor(place / wide) * side * scale}px`;
  return box;
}

function list() {
  const rows = shown.slice(0, listed).map((one) => {
    const open = make(
      "button",
      { type: "button", className: "one" },
      small(one, 96),
      make("span", { className: "told" }, told(one)),
      make("bdi", { className: "name" }, one.name),
    );
    open.addEventListener("click", () => {
      choose(one);
      plane.scrollIntoView({ block: "nearest" });
    });
    return make("li", {}, open);
  });
  at("list").replaceChildren(...rows);
  at("more").hidden = shown.length <= listed;
  at("more").textContent = `${Math.min(STEP, shown.length - listed)} more`;
}

// The plane.

const plane = at("plane");
const pen = plane.getContext("2d", { willReadFrequently: true });
const colourOf = {
  strategy: ({ strategy }) => strategy,
  class: ({ answer }) => data.order[answer],
  right: (one) => (rightOf(one) === null ? -1 : rightOf(one) ? 2 : 0),
};

let [wide, high] = [0, 0]; // of the plane; asking for it for every dot would lay out the page each time
let dots = null; // as they were drawn last, so that another chosen one draws a ring alone

function spot(one) {
  return [12 + one.x * (wide - 24), 12 + one.y * (high - 24)];
}

const radius = () => (shown.length > 2000 ? 2.5 : 4.5);

function draw() {
  [wide, high] = [plane.clientWidth, plane.clientHeight];
  const ratio = window.devicePixelRatio || 1;
  [plane.width, plane.height] = [wide * ratio, high * ratio];
  pen.setTransform(ratio, 0, 0, ratio, 0, 0);
  const style = getComputedStyle(plane);
  const tones = Array.from({ length: 8 }, (_, i) => style.getPropertyValue(`--tone-${i}`));
  const none = style.getPropertyValue("--edge");
  const group = colourOf[wanted("colour") || "strategy"];
  const around = radius();
  pen.globalAlpha = 0.75;
  for (const one of shown) {
    const [x, y] = spot(one);
    const own = group(one);
    pen.fillStyle = own < 0 || own === undefined ? none : tones[own % 8];
    pen.beginPath();
    pen.arc(x, y, around, 0, 2 * Math.PI);
    pen.fill();
  }
  pen.globalAlpha = 1;
  dots = plane.width && plane.height ? pen.getImageData(0, 0, plane.width, plane.height) : null;
  ring();
}

function ring() {
  if (dots) pen.putImageData(dots, 0, 0);
  if (!chosen) return;
  const [x, y] = spot(chosen);
  pen.strokeStyle = getComputedStyle(plane).color;
  pen.lineWidth = 2.5;
  pen.beginPath();
  pen.arc(x, y, radius() + 4, 0, 2 * Math.PI);
  pen.stroke();
}

function choose(one) {
  chosen = one;
  const card = at("card");
  card.hidden = !one;
  if (one) {
    const name = data.report
      ? make("a", { href: `${data.report}#${new URLSearchParams({ text: one.name })}` }, make("bdi", {}, one.name))
      : make("bdi", {}, one.name);
    card.replaceChildren(small(one, 144), make("p", {}, told(one)), make("p", { className: "name" }, name));
  }
  ring();
}

function nearest(x, y, within) {
  let [best, least] = [null, within * within];
  for (const one of shown) {
    const [left, top] = spot(one);
    const far = (left - x) ** 2 + (top - y) ** 2;
    if (far < least) [best, least] = [one, far];
  }
  return best;
}

function pointed(event) {
  const box = plane.getBoundingClientRect();
  const one = nearest(event.clientX - box.left, event.clientY - box.top, NEAR);
  if (one && one !== chosen) choose(one);
}

// The nearest picture that way, what lies aside counting double.
const WAYS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

function step(key) {
  if (!shown.length) return;
  if (!chosen) return choose(nearest(wide / 2, high / 2, Infinity));
  const [right, down] = WAYS[key];
  const [x, y] = spot(chosen);
  let [best, least] = [null, Infinity];
  for (const one of shown) {
    const [left, top] = spot(one);
    const along = (left - x) * right + (top - y) * down;
    const aside = Math.abs((left - x) * down) + Math.abs((top - y) * right);
    if (one !== chosen && along > 0.5 && along + 2 * aside < least) [best, least] = [one, along + 2 * aside];
  }
  if (best) choose(best);
}

plane.addEventListener("pointermove", pointed);
plane.addEventListener("pointerdown", pointed);
plane.addEventListener("focus", () => chosen || step("ArrowRight"));
plane.addEventListener("keydown", (event) => {
  if (event.key === "Escape") choose(null);
  if (!(event.key in WAYS)) return;
  event.preventDefault();
  step(event.key);
});

for (const id of FIELDS) at(id).addEventListener("input", arrange);
at("more").addEventListener("click", () => {
  listed += STEP;
  list();
});
at("clear").addEventListener("click", () => {
  for (const id of FIELDS) if (id !== "colour") at(id).value = "";
  arrange();
});
for (const cell of document.querySelectorAll("[data-cell]")) {
  cell.addEventListener("click", () => {
    const again = cell.getAttribute("aria-pressed") === "true";
    at("truth").value = again ? "" : cell.dataset.truth;
    at("class").value = again ? "" : cell.dataset.said;
    arrange();
    at("pictures").scrollIntoView();
  });
}
for (const button of document.querySelectorAll("[data-strategy]")) {
  button.addEventListener("click", () => {
    at("strategy").value = button.dataset.strategy;
    arrange();
    at("pictures").scrollIntoView();
  });
}
for (const [id, value] of new URLSearchParams(location.hash.slice(1))) {
  if (FIELDS.includes(id)) at(id).value = value;
}
new ResizeObserver(draw).observe(plane);
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
arrange();
