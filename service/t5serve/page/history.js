// The queries that were asked in this browser.
import { element } from "./dom.js";
import { load, save } from "./storage.js";

const KEY = "t5serve.history";
const MAX_ENTRIES = 30;
const MAX_CHARACTERS = 2000; // of a query; longer ones are not kept

export class History {
	#root;
	#onSelect;
	#entries = load("localStorage", KEY, []);
	#isStored = true;

	/** `onSelect` is called with an entry when the user selects it. */
	constructor(root, onSelect) {
		this.#root = root;
		this.#onSelect = onSelect;
		this.#entries = Array.isArray(this.#entries) ? this.#entries.filter(isEntry) : [];
		this.#draw();
	}

	/** Adds an entry, {query, sides: [values], texts}, or moves it to the top. */
	add(entry) {
		if (entry.query.length > MAX_CHARACTERS) return;
		const isSame = ({ query, sides }) =>
			query === entry.query && JSON.stringify(sides) === JSON.stringify(entry.sides);
		const others = this.#entries.filter((other) => !isSame(other));
		this.#entries = [entry, ...others].slice(0, MAX_ENTRIES);
		this.#store();
	}

	#store() {
		this.#isStored = save("localStorage", KEY, this.#entries.length ? this.#entries : undefined);
		this.#draw();
	}

	#draw() {
		if (!this.#entries.length) {
			this.#root.replaceChildren(element("p.muted.small", "What you ask stays here, in this browser."));
			return;
		}
		const note = this.#isStored
			? []
			: [element("p.muted.small", "This browser keeps nothing: gone when the page closes.")];
		this.#root.replaceChildren(
			element("ul.entries", ...this.#entries.map((entry) => this.#row(entry))),
			...note,
			element("button.quiet", { type: "button", onclick: () => this.#clear() }, "Clear history"),
		);
	}

	#row(entry) {
		const settings = entry.sides.map(summary).join(" / ");
		return element(
			"li",
			element(
				"button.entry",
				{ type: "button", onclick: () => this.#onSelect(entry) },
				element("span.asked", { dir: "auto" }, entry.query),
				element("span.muted.small", { dir: "auto" }, entry.texts?.[0] ?? ""),
				element("span.muted.small", settings),
			),
		);
	}

	#clear() {
		this.#entries = [];
		this.#store();
		this.#root.closest("section").querySelector("h2").focus();
	}
}

/** Whether a stored value is an entry: other pages at the same address may have stored another. */
function isEntry(value) {
	return (
		typeof value?.query === "string" &&
		Array.isArray(value.sides) &&
		value.sides.every((side) => side instanceof Object)
	);
}

/** Describes settings in a few words; empty for the defaults. */
function summary(values) {
	return Object.entries(values)
		.map(([name, value]) => (name === "task" || name === "strategy" ? value : `${name} ${value}`))
		.join(", ");
}
