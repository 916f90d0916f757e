// The request as code, for copying.
import { hasKey } from "./api.js";
import { copyFor } from "./clipboard.js";
import { element, makeChoice } from "./dom.js";
import { SNIPPETS } from "./snippets.js";

/** A disclosure with a choice of clients; `getRequest` returns {query, settings, model}. */
export class Code {
	#getRequest;
	#text = element("code");

	constructor(getRequest, name) {
		this.#getRequest = getRequest;
		const choices = Object.keys(SNIPPETS).map((value, index) =>
			makeChoice({ name: `${name}-code`, value, checked: index === 0 }),
		);
		const button = element("button", { type: "button", className: "quiet" }, "Copy");
		button.addEventListener("click", () => copyFor(button, this.#text.textContent));
		this.root = element(
			"details.more.code",
			element("summary", "Copy as code"),
			element(
				"div.buttons",
				element("div.choices", { role: "radiogroup", "aria-label": "Kind of code" }, ...choices),
				button,
			),
			element("pre", this.#text),
		);
		this.root.addEventListener("input", (event) => {
			event.stopPropagation();
			this.update();
		});
		this.root.addEventListener("toggle", () => this.update());
	}

	/** Updates the code while the disclosure is open. */
	update() {
		if (!this.root.open) return;
		const { query, settings, model } = this.#getRequest();
		const client = this.root.querySelector(":checked").value;
		const base = new URL("./", location.href).href;
		const body = { query: query || "your query", ...settings };
		this.#text.textContent = SNIPPETS[client]({ base, body, model, withKey: hasKey() });
	}
}
