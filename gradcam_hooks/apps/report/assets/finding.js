// Sorting and filtering. What is searched is every picture of the report; those of other pages are
// counted, with links that carry the question along.

const wanted = (id) => document.getElementById(id).value;
const words = new Intl.Collator("en", { numeric: true });
const network = () => wanted("network");
const chance = (item, none) => said(item, network()).probability ?? none;
const ORDERS = {
  order: (a, b) => a.index - b.index,
  name: (a, b) => words.compare(a.name, b.name),
  class: (a, b) => {
    const [one, other] = [a, b].map((item) => said(item, network()));
    const last = (one.predicted === null) - (other.predicted === null);
    return last || words.compare(named(one.predicted, one.label), named(other.predicted, other.label));
  },
  surest: (a, b) => chance(b, -1) - chance(a, -1),
  unsure: (a, b) => chance(a, 2) - chance(b, 2),
  wrong: (a, b) => {
    const [one, other] = [a, b].map((item) => said(item, network()).right ?? 2);
    return one - other || chance(b, -1) - chance(a, -1);
  },
};
const FIELDS = ["text", "network", "class", "truth", "right", "agree", "diagnosis", "least", "most"];
const UNKNOWN = "?"; // no true class is known; the classes themselves stand behind a "="

let shownItems = items;

function fits(item) {
  const text = wanted("text").trim().toLowerCase();
  if (text && !item.name.toLowerCase().includes(text)) return false;
  const one = said(item, network());
  if (wanted("class") && String(one.predicted) !== wanted("class")) return false;
  if (wanted("truth") && truthOf(item) !== wanted("truth")) return false;
  if (wanted("right") && String(one.right) !== wanted("right")) return false;
  if (wanted("agree") && String(differ(item)) !== wanted("agree")) return false;
  const diagnosis = wanted("diagnosis");
  if (diagnosis === "broken" && one.error === null) return false;
  if (diagnosis && diagnosis !== "broken") {
    if (!item.panels.some((panel) => panel.diagnosis === diagnosis)) return false;
  }
  const [least, most] = [Number(wanted("least") || 0), Number(wanted("most") || 1)];
  if (least <= 0 && most >= 1) return true; // also those without a probability
  return one.probability !== null && one.probability >= least && one.probability <= most;
}

function arrange() {
  const order = ORDERS[wanted("sort")];
  const sorted = [...items].sort((a, b) => order(a, b) || a.index - b.index);
  shownItems = sorted.filter(fits);
  const kept = new Set(shownItems);
  for (const { item, card } of cards) card.hidden = !kept.has(item);
  gallery.append(...sorted.map((item) => cards[item.index].card));
  const pictures = items.length === 1 ? "1 picture" : `${items.length} pictures`;
  const all = elsewhere.length ? `${pictures} of this page` : pictures;
  document.getElementById("found").textContent =
    kept.size === items.length ? `Showing all ${all}` : `Showing ${kept.size} of ${all}`;
  const more = elsewhere.filter(fits);
  document.getElementById("nothing").hidden = kept.size > 0 || more.length > 0;
  tellElsewhere(kept.size === items.length && more.length === elsewhere.length ? [] : more);
  markCell();
}

// What fits on the other pages, with a way there.
function tellElsewhere(more) {
  const counts = new Map();
  for (const { page: number } of more) counts.set(number, (counts.get(number) ?? 0) + 1);
  const links = [...counts].map(([number, many]) => {
    const href = `${page.links[number - 1]}#${asked()}`;
    return make("a", { href }, `page ${number} (${many})`);
  });
  const place = document.getElementById("more");
  place.hidden = !links.length;
  place.replaceChildren(`${more.length} more fit on other pages: `, ...links);
}

// What is asked, as a page's address carries it; and back.
function asked() {
  const set = new URLSearchParams();
  for (const id of ["sort", ...FIELDS]) if (wanted(id)) set.set(id, wanted(id));
  return set.toString();
}

function ask(text) {
  for (const [id, value] of new URLSearchParams(text)) {
    if (id === "sort" || FIELDS.includes(id)) document.getElementById(id).value = value;
  }
}

const truthOf = ({ truth }) => (truth === null ? UNKNOWN : `=${truth}`);

// The choices that this run gives reason for.
function fillChoices() {
  const names = [...new Set(everything.flatMap(({ networks }) => networks.map((one) => one.name)))];
  document.getElementById("network").append(
    ...names.map((name) => make("option", { value: name }, name)),
  );
  for (const id of ["network-field", "agree-field"]) {
    document.getElementById(id).hidden = names.length < 2;
  }
  fillCounted();
  const judged = everything.some((item) => said(item, names[0]).right !== null);
  for (const id of ["right-field", "truth-field"]) document.getElementById(id).hidden = !judged;
  document.querySelector("#sort option[value=wrong]").hidden = !judged;
}

// Choices with how many each has; of the classes, as the chosen network says them.
function fillCounted() {
  const [classes, truths, diagnoses] = [new Map(), new Map(), new Map()];
  const count = (map, key, text) => map.set(key, [text, (map.get(key)?.[1] ?? 0) + 1]);
  for (const item of everything) {
    const one = said(item, network());
    if (one.predicted !== null) count(classes, one.predicted, named(one.predicted, one.label));
    count(truths, truthOf(item), item.truth ?? "unknown");
    for (const word of new Set(item.panels.map((panel) => panel.diagnosis))) count(diagnoses, word, word);
    if (one.error !== null) count(diagnoses, "broken", "broken");
  }
  const fill = (id, map) => {
    const field = document.getElementById(id);
    const [before, any] = [field.value, field.options[0]];
    const sorted = [...map].sort((a, b) => words.compare(a[1][0], b[1][0]));
    const found = sorted.map(([value, [text, many]]) => make("option", { value }, `${text} (${many})`));
    field.replaceChildren(any, ...found);
    field.value = before;
    if (field.selectedIndex < 0) field.value = "";
  };
  fill("class", classes);
  fill("truth", truths);
  fill("diagnosis", diagnoses);
}
