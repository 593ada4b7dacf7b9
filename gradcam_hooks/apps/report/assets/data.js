"use strict";
// The data: items, their pictures and maps, and what a map's value is at a place of the picture.
// A map is placed by its geometry, as gradcam_hooks.images.Geometry does it:
//   original = input * scale + offset, in continuous coordinates, (vertical, horizontal).

const page = JSON.parse(document.getElementById("data").textContent);
const items = page.items.map((item, index) => ({ ...item, index }));
const elsewhere = page.elsewhere.map(([number, item]) => ({ ...item, page: number }));
const everything = [...items, ...elsewhere]; // what is searched, of all pages

// Of several networks, what the named one said; of one, what it said.
const NOTHING = { predicted: null, label: null, probability: null, right: null, error: "" };
function said(item, name) {
  if (!item.networks.length) return item;
  return item.networks.find((one) => one.name === name) ?? NOTHING;
}

const differ = ({ networks }) => new Set(networks.map((one) => one.predicted)).size > 1;

function bytes(base64) {
  const text = atob(base64);
  const out = new Uint8Array(text.length);
  for (let i = 0; i < text.length; i++) out[i] = text.charCodeAt(i);
  return out;
}

const tables = {};
function table(name) {
  tables[name] ??= bytes(page.tables[name]);
  return tables[name];
}

// The picture of an item, decoded, and the bytes of its maps.
async function load(item) {
  const payload = JSON.parse(document.getElementById(`p${item.index}`).textContent);
  const blob = new Blob([bytes(payload.image)], { type: "image/jpeg" });
  return { image: await createImageBitmap(blob), maps: payload.maps.map(bytes) };
}

// The part of the original that the network saw: [top, left, bottom, right] in its pixels.
function seen({ original, input, scale, offset }) {
  const edge = (far, axis) => {
    const at = offset[axis] + far * input[axis] * scale[axis];
    return Math.round(Math.min(Math.max(at, 0), original[axis]) * 1e6) / 1e6;
  };
  return [edge(0, 0), edge(0, 1), edge(1, 0), edge(1, 1)];
}

// The two of `cells` cells around a position counted in cells, and the second one's weight.
// Before the first centre and behind the last, their own value goes on.
function around(position, cells) {
  const at = Math.min(Math.max(position - 0.5, 0), cells - 1);
  const low = Math.floor(at);
  return [low, Math.min(low + 1, cells - 1), at - low];
}

// Values (height x width) between their centres, at each pair of rows and columns.
function bilinear(values, width, rows, columns) {
  const out = new Float32Array(rows.length * columns.length);
  let i = 0;
  for (const [top, bottom, down] of rows) {
    const [first, second] = [top * width, bottom * width];
    for (const [left, right, across] of columns) {
      const above = values[first + left] * (1 - across) + values[first + right] * across;
      const below = values[second + left] * (1 - across) + values[second + right] * across;
      out[i++] = above * (1 - down) + below * down;
    }
  }
  return out;
}

// The map at the size of the network's input, in [0, 1]: what the library calls `maps`.
function mapOf({ geometry }, panel, map) {
  const steps = (axis, cells) =>
    Array.from({ length: geometry.input[axis] }, (_, i) =>
      around(((i + 0.5) * cells) / geometry.input[axis], cells),
    );
  const out = bilinear(map, panel.width, steps(0, panel.height), steps(1, panel.width));
  const span = panel.high - panel.low;
  return out.map((value) => Math.min(Math.max((value / 255 - panel.low) / span, 0), 1));
}

// The map at rows and columns of the original.
function sample({ geometry }, map, ys, xs) {
  const { input, scale, offset } = geometry;
  const place = (places, axis) =>
    places.map((at) => around((at - offset[axis]) / scale[axis], input[axis]));
  return bilinear(map, input[1], place(ys, 0), place(xs, 1));
}

// The value at one place of the original, null where the network saw nothing.
function valueAt(item, map, y, x) {
  const [top, left, bottom, right] = seen(item.geometry);
  if (y <= top || y >= bottom || x <= left || x >= right) return null;
  return sample(item, map, [y], [x])[0];
}

// The centres of the input's pixels that show the picture, along one axis, in its pixels.
function centres(geometry, axis) {
  const out = [];
  for (let i = 0; i < geometry.input[axis]; i++) {
    const place = (i + 0.5) * geometry.scale[axis] + geometry.offset[axis];
    if (place > 0 && place < geometry.original[axis]) out.push(place);
  }
  return out;
}

// Where the map is largest: [y, x], in the original's pixels.
function peak(item, map) {
  const ys = centres(item.geometry, 0);
  const xs = centres(item.geometry, 1);
  const values = sample(item, map, ys, xs);
  let best = 0;
  for (let i = 1; i < values.length; i++) if (values[i] > values[best]) best = i;
  return [ys[Math.floor(best / xs.length)], xs[best % xs.length]];
}

// The boxes [top, left, bottom, right] around connected pixels of the input at the threshold or
// above (corners connect), in the original's pixels, the largest area first.
function boxes(item, map, threshold) {
  const { scale } = item.geometry;
  const limit = seen(item.geometry);
  const ys = centres(item.geometry, 0);
  const xs = centres(item.geometry, 1);
  const values = sample(item, map, ys, xs);
  const done = new Uint8Array(values.length);
  const found = [];
  for (let start = 0; start < values.length; start++) {
    if (done[start] || values[start] < threshold) continue;
    const box = { top: ys.length, left: xs.length, bottom: 0, right: 0, area: 0 };
    const open = [start];
    done[start] = 1;
    while (open.length) {
      const here = open.pop();
      const row = Math.floor(here / xs.length);
      const column = here % xs.length;
      box.top = Math.min(box.top, row);
      box.bottom = Math.max(box.bottom, row);
      box.left = Math.min(box.left, column);
      box.right = Math.max(box.right, column);
      box.area++;
      for (let y = Math.max(row - 1, 0); y <= Math.min(row + 1, ys.length - 1); y++) {
        for (let x = Math.max(column - 1, 0); x <= Math.min(column + 1, xs.length - 1); x++) {
          const next = y * xs.length + x;
          if (!done[next] && values[next] >= threshold) {
            done[next] = 1;
            open.push(next);
          }
        }
      }
    }
    found.push(box);
  }
  found.sort((a, b) => b.area - a.area);
  return found.map((box) => [
    Math.max(ys[box.top] - scale[0] / 2, limit[0]),
    Math.max(xs[box.left] - scale[1] / 2, limit[1]),
    Math.min(ys[box.bottom] + scale[0] / 2, limit[2]),
    Math.min(xs[box.right] + scale[1] / 2, limit[3]),
  ]);
}
