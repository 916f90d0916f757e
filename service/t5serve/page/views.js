// The views of the page: links above the query choose one; the address has its name.
import { byId } from "./dom.js";

const VIEWS = ["one", "find", "many"];
const TITLES = {
	one: "t5serve",
	find: "Does it find more? \u2013 t5serve",
	many: "Many lines \u2013 t5serve",
};

export class Views {
	current = "one";
	#onChange;

	/** `onChange` is called with the names of the new view and of the one before it. */
	constructor(onChange) {
		this.#onChange = onChange;
		for (const link of document.querySelectorAll("[data-view]")) {
			link.addEventListener("click", (event) => {
				if (event.ctrlKey || event.metaKey || event.shiftKey) return; // opens another tab
				event.preventDefault();
				this.show(link.dataset.view);
			});
		}
	}

	/** Shows a view; one that does not exist is the first. */
	show(name) {
		const before = this.current;
		this.current = VIEWS.includes(name) ? name : VIEWS[0];
		for (const view of VIEWS) byId(view).hidden = view !== this.current;
		for (const link of document.querySelectorAll("[data-view]")) {
			if (link.dataset.view === this.current) link.setAttribute("aria-current", "page");
			else link.removeAttribute("aria-current");
		}
		byId("ask").hidden = this.current === "many";
		byId("submit").textContent = this.current === "find" ? "Search" : "Reformulate";
		document.title = TITLES[this.current];
		if (before !== this.current) this.#onChange(this.current, before);
	}
}
