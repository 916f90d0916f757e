// The box for a query: as high as its text, and Enter asks.
import { byId } from "./dom.js";

const MAX_HEIGHT = 240; // pixels

export class QueryBox {
	#area = byId("query");

	/** `ask` is called when the query is sent. */
	constructor(ask) {
		this.#area.addEventListener("input", () => this.#fitHeight());
		this.#area.addEventListener("keydown", (event) => {
			if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
			event.preventDefault();
			byId("ask").requestSubmit();
		});
		byId("ask").addEventListener("submit", (event) => {
			event.preventDefault();
			ask();
		});
	}

	get text() {
		return this.#area.value.trim();
	}

	set(text) {
		this.#area.value = text;
		this.#area.dispatchEvent(new Event("input", { bubbles: true }));
	}

	focus() {
		this.#area.focus();
	}

	#fitHeight() {
		const area = this.#area;
		area.style.overflowY = "hidden"; // a scroll bar would narrow the lines, and wrap more of them
		area.style.height = "auto";
		const height = area.scrollHeight;
		area.style.height = `${Math.min(height, MAX_HEIGHT)}px`;
		area.style.overflowY = height > MAX_HEIGHT ? "auto" : "hidden";
	}
}
