// Drawing: a picture with a map laid over it on a canvas, and small pieces of the page.
// Text is only ever set as text: file names and labels may hold anything.

const state = { mode: "overlay", alpha: page.alpha, colormap: page.colormap };

// A new element; properties as they are, children as text or elements.
function make(tag, properties = {}, ...children) {
  const { aria = {}, data = {}, ...plain } = properties;
  const element = Object.assign(document.createElement(tag), plain);
  for (const [name, value] of Object.entries(aria)) element.setAttribute(`aria-${name}`, value);
  Object.assign(element.dataset, data);
  element.append(...children);
  return element;
}

const percent = (value) => `${Math.round(value * 100)} %`;
const number = (value) => (value === null ? "–" : value.toFixed(2));
const named = (index, label) => label ?? (index === null ? "–" : `class ${index}`);

// One map of one item on a canvas.
class Drawing {
  constructor(item, panel) {
    this.item = item;
    this.panel = panel;
    this.canvas = make("canvas", { className: "drawing" });
    this.canvas.style.aspectRatio = `${item.size[1]} / ${item.size[0]}`;
  }

  // Take the picture and the map up, and draw.
  fill(image, map) {
    const [height, width] = this.item.size;
    this.canvas.width = width;
    this.canvas.height = height;
    this.image = image;
    this.map = mapOf(this.item, this.panel, map);
    this.place(height, width);
    this.draw();
  }

  // Give the memory back; the place on the page stays.
  empty() {
    this.image = this.map = this.values = this.heat = this.heatName = null;
    this.canvas.width = this.canvas.height = 1;
  }

  // Which pixels of the canvas the network saw, and the map there as entries of the colours.
  place(height, width) {
    const { geometry } = this.item;
    const [top, left, bottom, right] = seen(geometry);
    const ys = [];
    const xs = [];
    const [down, across] = [geometry.original[0] / height, geometry.original[1] / width];
    for (let row = 0; row < height; row++) {
      const y = (row + 0.5) * down;
      if (y > top && y < bottom) ys.push(y);
    }
    for (let column = 0; column < width; column++) {
      const x = (column + 0.5) * across;
      if (x > left && x < right) xs.push(x);
    }
    const steps = sample(this.item, this.map, ys, xs).map((value) => value * 255);
    this.values = Uint8ClampedArray.from(steps); // which rounds
    this.at = ys.length && xs.length ? [Math.floor(ys[0] / down), Math.floor(xs[0] / across)] : null;
    this.size = [ys.length, xs.length];
    this.whole = ys.length === height && xs.length === width;
  }

  // The map in colours, made once for each colour map; laid over a picture as dense as the map is.
  tint() {
    const even = page.opacity !== "map" || state.mode === "map";
    const name = `${state.colormap} ${even}`;
    if (this.heatName === name) return this.heat;
    const colours = table(state.colormap);
    const pixels = new ImageData(this.size[1], this.size[0]);
    for (let i = 0; i < this.values.length; i++) {
      const from = this.values[i] * 3;
      pixels.data[4 * i] = colours[from];
      pixels.data[4 * i + 1] = colours[from + 1];
      pixels.data[4 * i + 2] = colours[from + 2];
      pixels.data[4 * i + 3] = even ? 255 : this.values[i];
    }
    this.heat ??= make("canvas");
    this.heat.width = this.size[1];
    this.heat.height = this.size[0];
    this.heat.getContext("2d").putImageData(pixels, 0, 0);
    this.heatName = name;
    return this.heat;
  }

  draw() {
    if (!this.image) return;
    const pen = this.canvas.getContext("2d");
    pen.drawImage(this.image, 0, 0);
    if (state.mode === "original" || !this.at) return;
    const [top, left] = this.at;
    pen.globalAlpha = state.mode === "map" ? 1 : state.alpha;
    pen.drawImage(this.tint(), left, top);
    pen.globalAlpha = 1;
    if (!this.whole) this.outline(pen, top, left);
  }

  // What the network never saw lies outside this line; dark beside white, to be seen on anything.
  outline(pen, top, left) {
    const width = Math.max(1, Math.round(Math.min(...this.size) / 240));
    const [height, across] = this.size;
    pen.lineWidth = width;
    pen.strokeStyle = "#000";
    pen.strokeRect(left - width / 2, top - width / 2, across + width, height + width);
    pen.strokeStyle = "#fff";
    pen.strokeRect(left + width / 2, top + width / 2, across - width, height - width);
  }
}

// The colours from 0 to 1.
function drawLegend(canvas) {
  const colours = table(state.colormap);
  const pixels = new ImageData(256, 1);
  for (let i = 0; i < 256; i++) {
    pixels.data.set([colours[3 * i], colours[3 * i + 1], colours[3 * i + 2], 255], 4 * i);
  }
  canvas.getContext("2d").putImageData(pixels, 0, 0);
}

// What distinguishes a panel from its neighbours comes first.
function captions(item) {
  const several = (key) => new Set(item.panels.map((panel) => panel[key])).size > 1;
  const [layers, methods] = [several("layer"), several("method")];
  return item.panels.map((panel, i) => {
    // What is explained need not be a class.
    const other = item.panels.length > 1 ? `map ${i + 1}` : "the score";
    const target = panel.target === null ? other : named(panel.target, panel.label);
    const extra = [layers ? panel.layer : "", methods ? panel.method : ""].filter(Boolean);
    const { title, right } = panel;
    return { title, target, extra: extra.join(" · "), said: panel.said, right };
  });
}

// A caption of these words.
function captioned(element, { title, target, extra, said, right }, alone) {
  if (title) element.append(make("bdi", { className: "title" }, title));
  const words = said || (alone ? "" : target);
  const sign = { true: " ✓", false: " ✗" }[right] ?? "";
  if (words) {
    const line = make("span", {}, make("bdi", {}, words));
    if (sign) line.append(make("span", { className: right ? "met" : "missed" }, sign));
    if (sign) line.append(make("span", { className: "hidden" }, right ? " right" : " wrong"));
    element.append(line);
  }
  if (extra) element.append(make("bdi", { className: "extra" }, extra));
  return element;
}

function doubtful(item) {
  return [...new Set(item.panels.map((panel) => panel.diagnosis))].filter((word) => word !== "ok");
}

// Words on the prediction, each with a sign beside its colour.
function badges(item) {
  const out = [];
  if (differ(item)) out.push(make("span", { className: "badge differ" }, "≠ told differently"));
  if (item.networks.length) {
    for (const one of item.networks) {
      if (one.error === null) continue;
      out.push(make("span", { className: "badge bad" }, "✗ ", make("bdi", {}, one.name), " broken"));
    }
  } else if (item.right === true) out.push(make("span", { className: "badge good" }, "✓ right"));
  if (!item.networks.length && item.right === false) out.push(make("span", { className: "badge bad" }, "✗ wrong"));
  for (const word of doubtful(item)) {
    out.push(make("span", { className: "badge doubt" }, `! ${word}`));
  }
  if (item.error !== null && !item.networks.length) {
    out.push(make("span", { className: "badge bad" }, "✗ broken"));
  }
  return out;
}

// How sure the network is of its class.
function told(item) {
  if (item.networks.length) {
    return item.networks.map((one) => `${one.name}: ${told({ ...one, networks: [] })}`).join(", ");
  }
  if (item.predicted === null) return item.error === null ? "no class" : "no result";
  const chance = item.probability === null ? "" : ` ${number(item.probability)}`;
  return named(item.predicted, item.label) + chance;
}
