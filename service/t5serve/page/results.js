// The answer of one side, while it arrives and when it is complete.
import { makeChanges, markAdded } from "./changes.js";
import { difference } from "./difference.js";
import { countOf, element, formatNumber } from "./dom.js";
import { makeLatency } from "./latency.js";
import { Verdict } from "./verdict.js";
import { reasonSentence } from "./words.js";

export class Results {
	#query = "";
	#items = new Map();
	#result = null;
	#isList = () => false;
	#isGuarded = true;
	#scores = new Set();
	#state = element("p.outcome", { role: "status" });
	#list = element("ol.reformulations");
	#fault = element("p.fault", { role: "alert", hidden: true });
	#latency = element("div.latency", { hidden: true });
	#verdict;
	#startedAt = 0;
	#firstTextMs = null;

	/** `askWithoutGuards` returns what the model writes for the same request without guards. */
	constructor(askWithoutGuards) {
		this.#verdict = new Verdict(askWithoutGuards);
		this.root = element(
			"div.results",
			this.#state,
			this.#fault,
			this.#list,
			this.#verdict.root,
			this.#latency,
		);
		this.#state.textContent = "Nothing asked yet.";
	}

	/** `isList()`: whether one answer can be several queries, as soon as the model is known;
	 * `isGuarded`: whether guards judge it. */
	begin(query, { isList, isGuarded }) {
		this.#query = query;
		this.#isList = isList;
		this.#isGuarded = isGuarded;
		this.#startedAt = performance.now();
		this.#firstTextMs = null;
		this.#items.clear();
		this.#list.replaceChildren();
		this.#fault.hidden = true;
		this.#latency.hidden = true;
		this.#verdict.hide();
		this.root.setAttribute("aria-busy", "true");
		this.say("Asking \u2026");
	}

	say(text) {
		if (this.#state.textContent !== text) this.#state.textContent = text;
	}

	/** Handles one event of the stream. */
	handle({ name, data }) {
		if (name === "token") this.#append(data);
		if (name === "result") this.#showResult(data);
		if (name === "done") this.#finish(data);
	}

	/** Shows why there is no answer. */
	fail(message, ...actions) {
		this.#end();
		this.say("");
		this.#fault.replaceChildren(message, ...actions);
		this.#fault.hidden = false;
	}

	/** Whether some text of the answer has arrived. */
	get hasText() {
		return this.#firstTextMs !== null;
	}

	texts() {
		return [...this.#items.values()].map((item) => item.text);
	}

	#append({ rank, text }) {
		this.#markFirstText();
		const item = this.#item(rank);
		item.text += text;
		item.body.replaceChildren(...markAdded(difference(this.#query, item.text).parts));
	}

	#showResult(result) {
		this.#markFirstText();
		this.#result = result;
		this.#items.clear();
		this.#scores.clear();
		this.#list.replaceChildren();
		for (const reformulation of result.reformulations) this.#show(reformulation, result.original);
	}

	#show(reformulation, original) {
		const item = this.#item(reformulation.rank);
		const { parts, removed } = difference(original, reformulation.text);
		item.text = reformulation.text;
		item.body.replaceChildren(...markAdded(parts));
		item.details.replaceChildren(...this.#details(reformulation, { parts, removed }));
		item.root.dataset.source = reformulation.source;
		item.root.append(makeCopyButton(reformulation));
	}

	/** The queries of a list share its score, and none has all words of the query that was typed. */
	#details(reformulation, changes) {
		if (!this.#isList()) return makeDetails(reformulation, changes);
		const { score } = reformulation;
		const isFirst = !this.#scores.has(score);
		if (score !== null) this.#scores.add(score);
		return makeDetails(reformulation, null, isFirst ? "list" : "");
	}

	#finish(done) {
		this.#end();
		const { cached, fallback } = this.#result;
		const time = `in ${formatNumber(done.timings_ms.total)} ms${cached ? ", from the cache" : ""}`;
		const unchanged = reasonSentence(this.#result);
		this.say(this.#isChanged() ? `${this.#count()} ${time}` : `${unchanged} Answered ${time}.`);
		this.root.classList.toggle("fallback", fallback);
		this.#latency.replaceChildren(...makeLatency(done, this.#firstTextMs, cached));
		this.#latency.hidden = false;
		if (this.#isGuarded && !fallback) this.#verdict.offer(this.#query, this.texts());
	}

	#isChanged() {
		return this.#result.changed && this.texts().some((text) => text !== this.#result.original);
	}

	#count() {
		const count = this.#result.reformulations.filter(({ source }) => source !== "original").length;
		if (!this.#isList()) return countOf(count, "reformulation", "reformulations");
		const queries = countOf(count, "query", "queries");
		return this.#scores.size > 1 ? `${queries} of ${this.#scores.size} answers` : queries;
	}

	#end() {
		this.root.removeAttribute("aria-busy");
		this.root.classList.remove("fallback");
	}

	#item(rank) {
		if (!this.#items.has(rank)) {
			const body = element("p.text", { dir: "auto" });
			const details = element("p.about");
			const root = element("li", element("div.grow", body, details));
			this.#items.set(rank, { root, body, details, text: "" });
			this.#list.append(root);
		}
		return this.#items.get(rank);
	}

	/** Records when the first text arrived and when it was painted; performance marks for tests. */
	#markFirstText() {
		if (this.#firstTextMs !== null) return;
		this.#firstTextMs = performance.now() - this.#startedAt;
		this.say("Answering \u2026");
		performance.mark("answer-arrived");
		requestAnimationFrame(() => setTimeout(() => performance.mark("answer-painted")));
	}
}

/** `changes`: added and removed words, null to say nothing of them; `scored`: what the score is of. */
function makeDetails({ score, tokens, source }, changes, scored = "text") {
	const details = [
		source === "original"
			? element("span.source.original", "the query itself")
			: element("span.source", "by the model"),
	];
	if (changes && source !== "original") details.push(...makeChanges(changes));
	if (score !== null && scored) details.push(makeScore(score, scored));
	if (score !== null) details.push(element("span", countOf(tokens, "token", "tokens")));
	return details;
}

/** Formats a score; what rounds to zero is zero, without a sign. */
function formatScore(score) {
	const text = score.toFixed(3);
	return Number(text) === 0 ? "0" : text.replace("-", "\u2212");
}

function makeScore(score, scored) {
	const percent = Math.round(100 * Math.exp(score));
	const meter = element("span.meter", { "aria-hidden": "true" }, element("span"));
	meter.firstChild.style.width = `${percent}%`;
	const owner = scored === "list" ? "the whole answer's" : "its";
	const title = `Mean log-probability of ${owner} tokens: ${percent} % for each`;
	return element("span.score", { title }, meter, `score ${formatScore(score)}`);
}

function makeCopyButton({ text, rank }) {
	const button = element(
		"button.quiet.copy",
		{ type: "button", "aria-label": `Copy reformulation ${rank}` },
		"Copy",
	);
	button.dataset.copies = text;
	return button;
}
