// Many lines: each is a query; the answers stand in a table, and can be saved.
import { reformulateOnce } from "./api.js";
import { makeChanges } from "./changes.js";
import { difference } from "./difference.js";
import { byId, countOf, element, linesOf } from "./dom.js";
import { saveFile, toCsv } from "./export.js";
import { errorSentence, persist } from "./persist.js";
import { reasonSentence } from "./words.js";

const MAX_LINES = 1000;
const AT_ONCE = 4; // requests: enough to keep a worker busy

export class Many {
	#settings;
	#status;
	#results = []; // of each line: a result of the service, or {original, error}
	#running = null; // aborts what is being asked

	/** `settings` are those of every line. */
	constructor(settings, status) {
		this.#settings = settings;
		this.#status = status;
		byId("many-ask").addEventListener("click", () => this.ask());
		byId("many-ask").disabled = false; // a click before this would be lost
		byId("many-stop").addEventListener("click", () => this.#running?.abort());
		byId("many-csv").addEventListener("click", () =>
			saveFile("reformulations.csv", "text/csv", toCsv(this.#answered())),
		);
		byId("many-json").addEventListener("click", () =>
			saveFile("reformulations.json", "application/json", `${JSON.stringify(this.#answered(), null, 1)}\n`),
		);
	}

	async ask() {
		const lines = linesOf(byId("many-lines"));
		if (!lines.length) return byId("many-lines").focus();
		if (lines.length > MAX_LINES) {
			return this.#say(
				`These are ${countOf(lines.length, "line", "lines")}, and the page takes ${MAX_LINES}. For more there is the command "t5serve batch".`,
			);
		}
		if (this.#settings.reportInvalid()) return;
		this.#running?.abort();
		const { signal } = (this.#running = new AbortController());
		this.#begin(lines);
		const values = this.#settings.values();
		const waiting = lines.entries(); // shared: each line goes to one of the loops
		const work = async () => {
			for (const [index, query] of waiting) {
				if (signal.aborted) return;
				this.#show(index, await this.#askOne({ query, ...values }, signal));
			}
		};
		await Promise.all(Array.from({ length: AT_ONCE }, work));
		if (this.#running.signal === signal) this.#finish(signal.aborted);
	}

	async #askOne(body, signal) {
		const say = (sentence) => !signal.aborted && this.#say(sentence);
		try {
			return await persist(() => reformulateOnce(body, signal), { say, status: this.#status, signal });
		} catch (error) {
			if (signal.aborted) return null;
			this.#settings.markInvalid(error.param, error.message);
			return { original: body.query, error: errorSentence(error) };
		}
	}

	#begin(lines) {
		this.#results = lines.map(() => null);
		byId("many-rows").replaceChildren(
			...lines.map((line, index) =>
				element("tr", element("td", String(index + 1)), element("td", { dir: "auto" }, line), element("td")),
			),
		);
		byId("many-box").hidden = false;
		byId("many-stop").hidden = false;
		byId("many-exports").hidden = true;
		this.#say(`Asking: 0 of ${countOf(lines.length, "line", "lines")}.`);
	}

	#show(index, result) {
		if (!result) return;
		this.#results[index] = result;
		const cell = byId("many-rows").rows[index].cells[2];
		cell.replaceChildren(...makeAnswer(result));
		const total = countOf(this.#results.length, "line", "lines");
		this.#say(`Asking: ${this.#answered().length} of ${total}.`);
	}

	#finish(isStopped) {
		const answered = this.#answered();
		const changed = answered.filter((result) => result.changed).length;
		const failed = answered.filter((result) => result.error).length;
		const parts = [`${changed} of ${countOf(this.#results.length, "line", "lines")} reformulated`];
		if (failed) parts.push(`${failed} failed`);
		this.#say(`${isStopped ? "Stopped: " : ""}${parts.join(", ")}.`);
		byId("many-stop").hidden = true;
		byId("many-exports").hidden = !answered.length;
	}

	#answered() {
		return this.#results.filter(Boolean);
	}

	#say(sentence) {
		byId("many-state").textContent = sentence;
	}
}

/** Makes the cell of a line's answer. */
function makeAnswer(result) {
	if (result.error) return [element("span.down", result.error)];
	if (!result.changed) return [element("span.muted", reasonSentence(result))];
	return result.queries.map((text) =>
		element(
			"p",
			element("span", { dir: "auto" }, text),
			element("span.about", ...makeChanges(difference(result.original, text))),
		),
	);
}
