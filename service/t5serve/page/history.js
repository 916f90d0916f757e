// What was asked in this browser.
import { element } from "./dom.js";
import { load, save } from "./storage.js";

const KEY = "t5serve.history";
const MOST = 30;
const LONGEST = 2000; // characters of a query that is kept

export class History {
  #root;
  #restore;
  #entries = load("localStorage", KEY, []);
  #kept = true;

  /** `restore` is given an entry that was chosen. */
  constructor(root, restore) {
    this.#root = root;
    this.#restore = restore;
    this.#entries = Array.isArray(this.#entries) ? this.#entries.filter(isEntry) : [];
    this.#draw();
  }

  /** Puts an entry on top: {query, sides: [values], texts}. */
  add(entry) {
    if (entry.query.length > LONGEST) return;
    const same = (one) =>
      one.query === entry.query && JSON.stringify(one.sides) === JSON.stringify(entry.sides);
    this.#entries = [entry, ...this.#entries.filter((one) => !same(one))].slice(0, MOST);
    this.#keep();
  }

  #keep() {
    this.#kept = save("localStorage", KEY, this.#entries.length ? this.#entries : undefined);
    this.#draw();
  }

  #draw() {
    if (!this.#entries.length) {
      this.#root.replaceChildren(
        element("p", { className: "muted small" }, "What you ask stays here, in this browser."),
      );
      return;
    }
    const note = this.#kept
      ? []
      : [
          element(
            "p",
            { className: "muted small" },
            "This browser keeps nothing: gone when the page closes.",
          ),
        ];
    this.#root.replaceChildren(
      element("ul", { className: "entries" }, ...this.#entries.map((entry) => this.#row(entry))),
      ...note,
      element(
        "button",
        { type: "button", className: "quiet", onclick: () => this.#clear() },
        "Clear history",
      ),
    );
  }

  #row(entry) {
    const settings = entry.sides.map(brief).join(" / ");
    return element(
      "li",
      {},
      element(
        "button",
        { type: "button", className: "entry", onclick: () => this.#restore(entry) },
        element("span", { className: "asked", dir: "auto" }, entry.query),
        element("span", { className: "muted small", dir: "auto" }, entry.texts?.[0] ?? ""),
        element("span", { className: "muted small" }, settings),
      ),
    );
  }

  #clear() {
    this.#entries = [];
    this.#keep();
    this.#root.closest("section").querySelector("h2").focus();
  }
}

/** Whether it is one: older pages, or others at the same address, may have left something else. */
function isEntry(one) {
  return (
    typeof one?.query === "string" &&
    Array.isArray(one.sides) &&
    one.sides.every((side) => side instanceof Object)
  );
}

/** Settings in a few words; nothing for the defaults. */
function brief(values) {
  return Object.entries(values)
    .map(([name, value]) => (name === "task" || name === "strategy" ? value : `${name} ${value}`))
    .join(", ");
}
