// The gallery: a card for each item; pictures are drawn as they come into view, and given back
// when they are far from it.

const gallery = document.getElementById("gallery");
const cards = items.map(buildCard);

function buildCard(item) {
  const card = make("li", { className: "card" });
  const drawings = item.panels.map((panel) => new Drawing(item, panel));
  const name = make("h3", {}, make("bdi", {}, item.name));
  const line = make("p", { className: "said" });
  if (item.error === null && !item.networks.length) {
    line.append(make("bdi", { className: "class" }, named(item.predicted, item.label)));
    if (item.probability !== null) line.append(make("span", { className: "chance" }, number(item.probability)));
  }
  line.append(...badges(item));
  const about = make("div", { className: "about" }, name, line);
  if (item.right === false || item.networks.some((one) => one.right === false)) {
    about.append(make("p", { className: "truth" }, "true class: ", make("bdi", {}, item.truth)));
  }
  if (item.error !== null) {
    about.append(make("p", { className: "reason" }, item.error));
    card.append(about);
    return { item, card, drawings };
  }
  const words = captions(item);
  const figures = drawings.map((drawing, i) => {
    const figure = make("span", { className: "panel" }, drawing.canvas);
    const caption = make("span", { className: "caption" });
    captioned(caption, words[i], drawings.length === 1);
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
