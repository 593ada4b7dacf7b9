// The gallery: a card for each item; pictures are drawn as they come into view, and given back
// when they are far from it.

const gallery = document.getElementById("gallery");
const cards = items.map(buildCard);

function buildCard(item) {
  const card = make("li", { className: "card" });
  const drawings = item.panels.map((panel) => new Drawing(item, panel));
  const name = make("h3", {}, make("bdi", {}, item.name));
  const line = make("p", { className: "said" });
  if (item.error === null) {
    line.append(make("bdi", { className: "class" }, named(item.predicted, item.label)));
    if (item.probability !== null) line.append(make("span", { className: "chance" }, number(item.probability)));
  }
  line.append(...badges(item));
  const about = make("div", { className: "about" }, name, line);
  if (item.right === false) {
    about.append(make("p", { className: "truth" }, "true class: ", make("bdi", {}, item.truth)));
  }
  if (item.error !== null) {
    about.append(make("p", { className: "reason" }, item.error));
    card.append(about);
    return { item, card, drawings };
  }
  const words = captions(item);
  const figures = drawings.map((drawing, i) => {
    const { title, target, extra, said } = words[i];
    const figure = make("span", { className: "panel" }, drawing.canvas);
    const caption = make("span", { className: "caption" });
    if (title) caption.append(make("bdi", { className: "title" }, title));
    if (said) caption.append(make("bdi", {}, said));
    else if (drawings.length > 1) caption.append(make("bdi", {}, target));
    if (extra) caption.append(make("bdi", { className: "extra" }, extra));
    if (caption.childNodes.length) figure.append(caption);
    return figure;
  });
  const label = `${item.name}, ${told(item)}: larger view`;
  const open = make("button", { type: "button", className: "open", aria: { label } }, ...figures);
  open.addEventListener("click", () => openViewer(item, open));
  card.append(open, about);
  return { item, card, drawings, open };
}

// Pictures near the window.
const near = new IntersectionObserver(
  (entries) => {
    for (const entry of entries) {
      const one = cards[entry.target.dataset.index];
      if (entry.isIntersecting) show(one);
      else hide(one);
    }
  },
  { rootMargin: "600px 0px" },
);

async function show(one) {
  if (one.shown || !one.drawings.length) return;
  one.shown = true;
  const { image, maps } = await load(one.item);
  if (!one.shown) return image.close(); // scrolled past while it was decoded
  one.image = image;
  one.drawings.forEach((drawing, i) => {
    drawing.fill(image, maps[i]);
    drawing.map = null; // there may be hundreds, and no value is read off them
  });
  one.card.classList.add("drawn");
}

function hide(one) {
  if (!one.shown) return;
  one.shown = false;
  one.card.classList.remove("drawn");
  for (const drawing of one.drawings) drawing.empty();
  one.image?.close();
  one.image = null;
}

function redrawGallery() {
  for (const one of cards) if (one.image) one.drawings.forEach((drawing) => drawing.draw());
}

// --- sorting and filtering ---------------------------------------------------------------------

const wanted = (id) => document.getElementById(id).value;
const words = new Intl.Collator("en", { numeric: true });
const chance = (item, none) => item.probability ?? none;
const ORDERS = {
  order: (a, b) => a.index - b.index,
  name: (a, b) => words.compare(a.name, b.name),
  class: (a, b) =>
    (a.predicted === null) - (b.predicted === null) ||
    words.compare(named(a.predicted, a.label), named(b.predicted, b.label)),
  surest: (a, b) => chance(b, -1) - chance(a, -1),
  unsure: (a, b) => chance(a, 2) - chance(b, 2),
  wrong: (a, b) => (a.right ?? 2) - (b.right ?? 2) || chance(b, -1) - chance(a, -1),
};

let shownItems = items;

function fits(item) {
  const text = wanted("text").trim().toLowerCase();
  if (text && !item.name.toLowerCase().includes(text)) return false;
  if (wanted("class") && String(item.predicted) !== wanted("class")) return false;
  if (wanted("right") && String(item.right) !== wanted("right")) return false;
  const diagnosis = wanted("diagnosis");
  if (diagnosis === "broken" && item.error === null) return false;
  if (diagnosis && diagnosis !== "broken") {
    if (!item.panels.some((panel) => panel.diagnosis === diagnosis)) return false;
  }
  const [least, most] = [Number(wanted("least") || 0), Number(wanted("most") || 1)];
  if (least <= 0 && most >= 1) return true; // also those without a probability
  return item.probability !== null && item.probability >= least && item.probability <= most;
}

function arrange() {
  const order = ORDERS[wanted("sort")];
  const sorted = [...items].sort((a, b) => order(a, b) || a.index - b.index);
  shownItems = sorted.filter(fits);
  const kept = new Set(shownItems);
  for (const { item, card } of cards) card.hidden = !kept.has(item);
  gallery.append(...sorted.map((item) => cards[item.index].card));
  const all = items.length === 1 ? "1 picture" : `${items.length} pictures`;
  document.getElementById("found").textContent =
    kept.size === items.length ? `Showing all ${all}` : `Showing ${kept.size} of ${all}`;
  document.getElementById("nothing").hidden = kept.size > 0;
}

// The choices that this run gives reason for.
function fillChoices() {
  const classes = new Map();
  const diagnoses = new Map();
  const count = (map, key, text) => map.set(key, [text, (map.get(key)?.[1] ?? 0) + 1]);
  for (const item of items) {
    if (item.predicted !== null) count(classes, item.predicted, named(item.predicted, item.label));
    for (const word of new Set(item.panels.map((panel) => panel.diagnosis))) count(diagnoses, word, word);
    if (item.error !== null) count(diagnoses, "broken", "broken");
  }
  const fill = (id, map) => {
    const sorted = [...map].sort((a, b) => words.compare(a[1][0], b[1][0]));
    document.getElementById(id).append(
      ...sorted.map(([value, [text, many]]) => make("option", { value }, `${text} (${many})`)),
    );
  };
  fill("class", classes);
  fill("diagnosis", diagnoses);
  const judged = items.some((item) => item.right !== null);
  document.getElementById("right-field").hidden = !judged;
  document.querySelector("#sort option[value=wrong]").hidden = !judged;
}
