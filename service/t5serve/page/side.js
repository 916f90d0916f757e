// A side: a panel of settings and the answer to them. Two sides compare two settings.
import { Refused, reformulate, reformulateOnce } from "./api.js";
import { Code } from "./code.js";
import { element } from "./dom.js";
import { errorSentence, persist } from "./persist.js";
import { Results } from "./results.js";
import { Settings } from "./settings.js";
import { reasonSentence } from "./words.js";

export class Side {
	#status;
	#retry;
	#query = "";
	#signal = null;
	#body = null;

	/** `getQuery` returns the query as typed so far; `retry` asks again. */
	constructor(schema, name, status, { getQuery, retry }) {
		this.name = name;
		this.settings = new Settings(schema, name);
		this.results = new Results(() => this.#askWithoutGuards());
		this.#status = status;
		this.#retry = retry;
		this.code = new Code(
			() => ({ query: getQuery(), settings: this.settings.values(), model: this.settings.model.id }),
			name,
		);
		this.settings.root.addEventListener("change", () => this.code.update());
		this.root = element(
			"section.side.card",
			{ "aria-label": `Setting ${name}` },
			element("h2.letter", name),
			this.settings.taskRoot,
			this.results.root,
			this.settings.root,
			this.code.root,
		);
	}

	/** Asks, and asks again after temporary errors; returns {texts} if there was an answer. */
	async ask(query, signal) {
		this.#query = query;
		this.#signal = signal;
		this.#body = { query, ...this.settings.values() };
		try {
			await persist(() => this.#askOnce(signal), {
				say: (sentence) => this.results.say(sentence),
				hasBegun: () => this.results.hasText,
				status: this.#status,
				signal,
			});
			return { texts: this.results.texts() };
		} catch (error) {
			const isReplaced = this.#signal !== signal; // by a newer question
			if (!isReplaced) this.#fail(error, signal);
			return null;
		}
	}

	async #askOnce(signal) {
		this.results.begin(this.#query, {
			isList: () => this.settings.task in this.settings.model.separators,
			isGuarded: this.#body.preserve?.length !== 0,
		});
		let fallback_reason = null;
		for await (const event of reformulate(this.#body, signal)) {
			this.results.handle(event);
			if (event.name === "result") ({ fallback_reason } = event.data);
		}
		return { fallback_reason };
	}

	/** Asks the same once more without guards; returns the texts that the model wrote. */
	async #askWithoutGuards() {
		try {
			const result = await reformulateOnce({ ...this.#body, preserve: [] }, this.#signal);
			return result.fallback ? reasonSentence(result) : result.queries;
		} catch (error) {
			return errorSentence(error);
		}
	}

	#fail(error, signal) {
		if (signal.aborted) {
			this.results.fail("Stopped.");
			return;
		}
		const sentence = errorSentence(error);
		this.settings.markInvalid(error.param, error.message);
		const label = error.code === "invalid_api_key" ? "Enter the key" : "Try again";
		const retryButton = element("button", { type: "button", onclick: this.#retry }, label);
		const canRetry = !(error instanceof Refused && error.status === 400);
		this.results.fail(`${sentence} `, ...(canRetry ? [retryButton] : []));
	}
}
