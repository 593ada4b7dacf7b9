// What was taken for what: a row for each true class, a column for each that was said. A cell is
// pressed to see its pictures.

const MOST_CLASSES = 20;
const MOST_PAIRS = 20;

// How often each pair of a true class and a said one came, the said ones by their numbers.
function pairs() {
  const counts = new Map();
  for (const item of everything) {
    const one = said(item, network());
    if (one.right === null || item.truth === null) continue;
    const key = JSON.stringify([item.truth, one.predicted]);
    const known = counts.get(key) ?? { truth: item.truth, one, right: one.right, many: 0 };
    known.many++;
    counts.set(key, known);
  }
  return [...counts.values()];
}

function fillMatrix() {
  const found = pairs();
  at("classes").hidden = !found.length;
  if (!found.length) return;
  const inOrder = (texts) => [...new Set(texts)].sort(words.compare);
  const truths = inOrder(found.map(({ truth }) => truth));
  const told = ({ one }) => named(one.predicted, one.label);
  const columns = inOrder([...found.filter(({ right }) => right), ...found].map(told));
  const fitsTable = truths.length <= MOST_CLASSES && columns.length <= MOST_CLASSES;
  at("matrix").replaceChildren(fitsTable ? matrix(found, truths, columns, told) : worst(found, told));
  markCell();
}

function matrix(found, truths, columns, told) {
  const cell = (truth, column) => {
    const pair = found.find((one) => one.truth === truth && told(one) === column);
    if (!pair) return make("td", { className: "none" }, "·");
    const of = found.filter((one) => one.truth === truth).reduce((sum, one) => sum + one.many, 0);
    const button = pressed(pair, told, String(pair.many));
    button.style.setProperty("--share", pair.many / of);
    return make("td", {}, button);
  };
  const head = columns.map((name) => make("th", { scope: "col" }, make("bdi", {}, name)));
  const rows = truths.map((truth) => {
    const mine = found.filter((one) => one.truth === truth);
    const all = mine.reduce((sum, one) => sum + one.many, 0);
    const met = mine.reduce((sum, one) => sum + (one.right ? one.many : 0), 0);
    const share = make("td", { className: "share" }, `${met} of ${all}, ${percent(met / all)}`);
    const name = make("th", { scope: "row" }, make("bdi", {}, truth));
    return make("tr", {}, name, ...columns.map((column) => cell(truth, column)), share);
  });
  const corner = make("th", { scope: "col" }, "true class ↓ said →");
  return make(
    "table",
    {},
    make("thead", {}, make("tr", {}, corner, ...head, make("th", { scope: "col" }, "right"))),
    make("tbody", {}, ...rows),
  );
}

// Of too many classes for a table, the pairs that were confounded most often.
function worst(found, told) {
  const wrong = found.filter(({ right }) => !right).sort((a, b) => b.many - a.many);
  const list = wrong.slice(0, MOST_PAIRS).map((pair) => {
    const button = pressed(pair, told, `${pair.truth} taken for ${told(pair)}: ${pair.many}`);
    return make("li", {}, button);
  });
  const rest = wrong.length - list.length;
  if (rest > 0) list.push(make("li", { className: "rest" }, `and ${rest} more pairs`));
  return make("ul", { className: "pairs" }, ...list);
}

function pressed(pair, told, text) {
  const label = `true class ${pair.truth}, said ${told(pair)}: ${pair.many}`;
  const data = { truth: `=${pair.truth}`, said: String(pair.one.predicted) };
  const className = pair.right ? "met" : "missed";
  const button = make("button", { type: "button", className, aria: { label }, data }, text);
  button.addEventListener("click", () => {
    const again = button.getAttribute("aria-pressed") === "true";
    at("truth").value = again ? "" : data.truth;
    at("class").value = again ? "" : data.said;
    arrange();
  });
  return button;
}

function markCell() {
  for (const button of document.querySelectorAll("#matrix button")) {
    const { truth, said: number } = button.dataset;
    const on = wanted("truth") === truth && wanted("class") === number;
    button.setAttribute("aria-pressed", String(on));
  }
}
