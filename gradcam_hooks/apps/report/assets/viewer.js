// The larger view: all maps of one item, the value under the pointer, boxes at a threshold.

const viewer = document.getElementById("viewer");
const stage = document.getElementById("stage");
const at = (id) => document.getElementById(id);
const SVG = "http://www.w3.org/2000/svg";
const MOST_BOXES = 20;

let view = null; // what is on the stage: item, drawings, image, marks, point
let opener = null;

function openViewer(item, from) {
  opener = from;
  viewer.showModal();
  document.documentElement.classList.add("viewing");
  put(item);
  at("viewer-name").focus();
}

function mark(tag, attributes) {
  const element = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  return element;
}

async function put(item) {
  const old = view;
  const drawings = item.panels.map((panel) => new Drawing(item, panel));
  const mine = { item, drawings, outputs: [], marks: [], point: null };
  view = mine;
  const words = captions(item);
  const [height, width] = item.geometry.original;
  const figures = drawings.map((drawing, i) => {
    const marks = mark("svg", { viewBox: `0 0 ${width} ${height}`, "aria-hidden": "true" });
    marks.setAttribute("preserveAspectRatio", "none");
    const frame = make("div", { className: "frame" }, drawing.canvas, marks);
    drawing.canvas.setAttribute("role", "img");
    frame.addEventListener("pointermove", (event) => follow(event, frame));
    frame.addEventListener("pointerdown", (event) => follow(event, frame));
    frame.addEventListener("pointerleave", () => point(null));
    const value = make("span", { className: "value" });
    const caption = captioned(make("figcaption", {}), words[i], false);
    caption.append(value);
    mine.outputs.push(value);
    mine.marks.push(marks);
    return make("figure", { className: "large" }, frame, caption);
  });
  stage.replaceChildren(...figures);
  fitStage();
  at("viewer-name").replaceChildren(make("bdi", {}, item.name));
  const place = shownItems.indexOf(item) + 1;
  at("viewer-place").textContent = `${place} of ${shownItems.length}`;
  at("before").disabled = !neighbour(-1);
  at("after").disabled = !neighbour(1);
  point(null);
  const { image, maps } = await load(item);
  old?.image?.close();
  if (view !== mine) return image.close(); // already gone on
  mine.image = image;
  drawings.forEach((drawing, i) => {
    drawing.fill(image, maps[i]);
    const [y, x] = peak(item, drawing.map);
    const blank = drawing.panel.diagnosis === "ok" ? "" : ` (${drawing.panel.diagnosis})`;
    drawing.peak = `x ${Math.round(x)}, y ${Math.round(y)}${blank}`;
    const what = [words[i].title, words[i].target, words[i].extra].filter(Boolean).join(", ");
    drawing.canvas.setAttribute("aria-label", `Map of ${what}; largest at ${drawing.peak}`);
  });
  tellFacts();
  drawBoxes();
  stage.dataset.ready = item.index;
}

// As many columns as make the maps largest; where the page scrolls as a whole, one.
function fitStage() {
  if (!view) return;
  const { drawings, item } = view;
  const ratio = item.size[1] / item.size[0];
  const [gap, caption, least] = [20, 40, 240];
  const scrolls = getComputedStyle(stage).overflowY === "visible";
  let best = { columns: 1, width: stage.clientWidth - 2 * gap };
  if (!scrolls) {
    const fit = (columns) => {
      const rows = Math.ceil(drawings.length / columns);
      const width = (stage.clientWidth - (columns + 1) * gap) / columns;
      const height = (stage.clientHeight - (rows + 1) * gap) / rows - caption;
      return { columns, width: Math.min(width, Math.max(height * ratio, least)) };
    };
    best = drawings.map((_, i) => fit(i + 1)).reduce((a, b) => (b.width > a.width ? b : a));
  }
  stage.style.setProperty("--columns", best.columns);
  stage.style.setProperty("--wide", `${Math.floor(best.width)}px`);
}

function tellFacts() {
  const { item, drawings } = view;
  const verdict = { true: " (right)", false: " (wrong)", null: " (no class of this network)" };
  const rows = item.networks.length ? [] : [["Predicted", told(item)]];
  for (const one of item.networks) {
    const judged = item.truth === null || one.error !== null ? "" : verdict[one.right];
    rows.push([`Predicted by ${one.name}`, one.error ?? told({ ...one, networks: [] }) + judged]);
  }
  if (item.truth !== null) {
    rows.push(["True class", item.truth + (item.networks.length ? "" : verdict[item.right])]);
  }
  const [height, width] = item.geometry.original;
  rows.push(["Picture", `${width} × ${height} pixels`]);
  const [top, left, bottom, right] = seen(item.geometry).map(Math.round);
  const all = top === 0 && left === 0 && bottom === height && right === width;
  rows.push(["Network saw", all ? "all of it" : `x ${left} to ${right}, y ${top} to ${bottom}`]);
  drawings.forEach(({ panel, peak: place }, i) => {
    const name = drawings.length > 1 ? ` ${i + 1}` : "";
    const score = panel.score === null ? "" : `, score ${Number(panel.score.toPrecision(4))}`;
    const grid = `${panel.layer}, ${panel.method}${score}; ${panel.width} × ${panel.height} cells, `;
    rows.push([`Map${name}`, `${grid}largest at ${place}`]);
    if (panel.message) rows.push([`Doubt${name}`, `${panel.diagnosis}: ${panel.message}`]);
    if (panel.trust) rows.push([`Check${name}`, `${panel.trust}: ${panel.why}`]);
  });
  const lines = rows.map(([term, text]) =>
    make("div", {}, make("dt", {}, term), make("dd", {}, make("bdi", {}, text))),
  );
  at("viewer-facts").replaceChildren(...lines);
}

// --- the value at a point ----------------------------------------------------------------------

function follow(event, frame) {
  at("point").ariaLive = "off"; // a pointer's way would be told step by step
  const box = frame.getBoundingClientRect();
  const [height, width] = view.item.geometry.original;
  point([
    ((event.clientY - box.top) / box.height) * height,
    ((event.clientX - box.left) / box.width) * width,
  ]);
}

// Tell each map's value at a point of the original, and mark it on all of them.
function point(place) {
  const { item, drawings, outputs, marks } = view;
  view.point = place;
  marks.forEach((svg) => svg.querySelectorAll(".cross").forEach((line) => line.remove()));
  if (!place) {
    outputs.forEach((output) => (output.textContent = ""));
    at("point").textContent = "Point at a map to read its value.";
    return;
  }
  const [y, x] = place;
  const [height, width] = item.geometry.original;
  const values = drawings.map(({ map }) => (map ? valueAt(item, map, y, x) : null));
  values.forEach((value, i) => {
    outputs[i].textContent = value === null ? "not seen" : value.toFixed(2);
    marks[i].append(
      mark("line", { class: "cross", x1: 0, x2: width, y1: y, y2: y }),
      mark("line", { class: "cross", x1: x, x2: x, y1: 0, y2: height }),
    );
  });
  const words = values.map((value) => (value === null ? "not seen" : value.toFixed(2))).join(" · ");
  at("point").textContent = `x ${Math.floor(x)}, y ${Math.floor(y)}: ${words}`;
}

function movePoint(down, across) {
  const [height, width] = view.item.geometry.original;
  const [y, x] = view.point ?? [height / 2, width / 2];
  const step = view.point ? 1 / 32 : 0;
  at("point").ariaLive = "polite";
  const within = (value, most) => Math.min(Math.max(value, 0.5), most - 0.5);
  point([
    within(y + down * step * height, height),
    within(x + across * step * width, width),
  ]);
}

// --- boxes -------------------------------------------------------------------------------------

function drawBoxes() {
  const threshold = at("threshold").value / 100;
  at("threshold-told").textContent = threshold.toFixed(2);
  at("threshold").setAttribute("aria-valuetext", threshold.toFixed(2));
  if (!view?.image) return;
  const lists = view.drawings.map(({ item, map }, i) => {
    view.marks[i].querySelectorAll(".box").forEach((box) => box.remove());
    if (!at("boxed").checked) return null;
    const found = boxes(item, map, threshold);
    for (const [top, left, bottom, right] of found.slice(0, MOST_BOXES)) {
      const size = { x: left, y: top, width: right - left, height: bottom - top };
      view.marks[i].prepend(mark("rect", { ...size, class: "box" }));
      view.marks[i].prepend(mark("rect", { ...size, class: "box under" }));
    }
    return regions(found, i);
  });
  at("regions").replaceChildren(...lists.filter(Boolean));
}

function regions(found, i) {
  const name = view.drawings.length > 1 ? `Map ${i + 1}: ` : "";
  const many = found.length === 1 ? "1 box" : `${found.length} boxes`;
  const rest = found.length > MOST_BOXES ? `, the largest ${MOST_BOXES}` : "";
  const list = found.slice(0, MOST_BOXES).map(([top, left, bottom, right]) => {
    const [x0, y0, x1, y1] = [left, top, right, bottom].map(Math.round);
    return make("li", {}, `x ${x0} to ${x1}, y ${y0} to ${y1}`);
  });
  return make("div", {}, make("h3", {}, name + many + rest), make("ol", {}, ...list));
}

// --- going on ----------------------------------------------------------------------------------

function neighbour(step) {
  let i = shownItems.indexOf(view.item) + step;
  while (shownItems[i] && shownItems[i].error !== null) i += step; // a broken one has no maps
  return shownItems[i];
}

function go(step) {
  const item = neighbour(step);
  if (!item) return;
  opener = cards[item.index].open;
  put(item);
}

function keys(event) {
  const way = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] };
  const [down, across] = way[event.key] ?? [0, 0];
  if (!(down || across) || event.ctrlKey || event.altKey || event.metaKey) return;
  if (event.target.matches("input, select")) return; // a slider's own keys
  if (event.shiftKey) movePoint(down, across);
  else if (across) go(across);
  else return;
  event.preventDefault();
}

function redrawViewer() {
  if (view?.image) view.drawings.forEach((drawing) => drawing.draw());
}

function closed() {
  document.documentElement.classList.remove("viewing");
  view?.image?.close();
  view = null;
  stage.replaceChildren();
  delete stage.dataset.ready;
  opener?.scrollIntoView({ block: "nearest" });
  opener?.focus();
}
