// What the guards kept out: the same request without guards, asked when somebody wants to see it.
import { makeChanges } from "./changes.js";
import { difference } from "./difference.js";
import { element } from "./dom.js";

export class Verdict {
	#askWithoutGuards;
	#query = "";
	#texts = [];
	#isAsked = false;
	#body = element("div.verdict", { role: "status" });

	constructor(askWithoutGuards) {
		this.#askWithoutGuards = askWithoutGuards;
		this.root = element(
			"details.more",
			{ hidden: true },
			element("summary", "What did the guards keep out?"),
			this.#body,
		);
		this.root.addEventListener("toggle", () => {
			if (this.root.open && !this.#isAsked) this.#ask();
		});
	}

	hide() {
		this.root.hidden = true;
		this.root.open = false;
	}

	/** Offers to compare with the answer without guards; `texts` are those that passed. */
	offer(query, texts) {
		this.#query = query;
		this.#texts = texts;
		this.#isAsked = false;
		this.#body.replaceChildren();
		this.root.hidden = false;
	}

	async #ask() {
		this.#isAsked = true;
		const query = this.#query;
		this.#body.replaceChildren("Asking once more, without guards \u2026");
		const answer = await this.#askWithoutGuards();
		if (query !== this.#query) return; // of an earlier question
		if (typeof answer === "string") {
			this.#body.replaceChildren(answer);
			return;
		}
		const passed = new Set([query, ...this.#texts]);
		const refused = answer.filter((text) => !passed.has(text));
		this.#body.replaceChildren(...(refused.length ? this.#list(refused) : [NOTHING]));
	}

	#list(refused) {
		const items = refused.map((text) =>
			element(
				"li",
				element("span", { dir: "auto" }, text),
				element("span.about", ...makeChanges(difference(this.#query, text))),
			),
		);
		return [INTRODUCTION, element("ul", ...items)];
	}
}

const NOTHING = "Nothing. Without guards the answer is the same.";
const INTRODUCTION = "Without guards the answer would have these. What each changed stands below it.";
