// "Does it find more?": searches the reader's lines with the query alone, and with reformulations.
import { reformulateOnce } from "./api.js";
import { analyse, B, Bm25, combine, K1, rank, STOP_WORDS } from "./bm25.js";
import { byId, countOf, element, linesOf, makeChoice } from "./dom.js";
import { errorSentence, persist } from "./persist.js";
import { SAMPLES } from "./samples.js";
import { reasonSentence } from "./words.js";

const OWN = "Your own lines";
const MAX_SHOWN = 10; // ranks of the table
const MAX_LINES = 5000;
const WEIGHT = 0.3; // docs/search.md: of a reformulation, beside 1 of the query

export class Find {
	#settings;
	#status;
	#ask;
	#answer = null; // the result of the last question
	#collection = Object.keys(SAMPLES)[0];
	#own = "";
	#lines = byId("lines");
	#outcome = byId("found");

	/** `settings` are those of the reformulations; `ask` is called with a query to ask. */
	constructor(settings, status, ask) {
		this.#settings = settings;
		this.#status = status;
		this.#ask = ask;
		const choices = [...Object.keys(SAMPLES), OWN].map((value, index) =>
			makeChoice({ name: "collection", value, checked: !index, onchange: () => this.#show(value) }),
		);
		byId("collections").append(...choices);
		this.#lines.addEventListener("input", () => {
			if (this.#collection === OWN) this.#own = this.#lines.value;
			this.#search();
		});
		byId("weight").value = WEIGHT;
		for (const id of ["weight", "stop-words"]) byId(id).addEventListener("input", () => this.#search());
		byId("bm25").textContent = `BM25 with k1 = ${K1}, b = ${B}.`;
		this.#show(this.#collection);
	}

	/** Asks for reformulations, and searches; returns {texts} if there was an answer. */
	async ask(query, signal) {
		const say = (sentence) => this.#say(sentence);
		say("Asking for reformulations \u2026");
		const body = { query, ...this.#settings.assumed, ...this.#settings.values() };
		try {
			this.#answer = await persist(() => reformulateOnce(body, signal), {
				say,
				status: this.#status,
				signal,
			});
			this.#search();
			return { texts: this.#answer.queries };
		} catch (error) {
			if (signal.aborted) say("Stopped.");
			else {
				this.#settings.markInvalid(error.param, error.message);
				say(errorSentence(error));
			}
			return null;
		}
	}

	#show(name) {
		this.#collection = name;
		const sample = SAMPLES[name];
		this.#lines.value = sample ? sample.lines.join("\n") : this.#own;
		this.#lines.readOnly = Boolean(sample);
		byId("lines-box").open = !sample;
		byId("find-examples").replaceChildren(
			...(sample?.queries ?? []).map(({ text }) =>
				element("button.example", { type: "button", onclick: () => this.#ask(text) }, text),
			),
		);
		this.#search();
	}

	#say(sentence) {
		byId("ranks-box").hidden = true;
		this.#outcome.textContent = sentence;
	}

	/** Searches the lines, by the query of the last answer. */
	#search() {
		const texts = linesOf(this.#lines);
		byId("lines-title").textContent = `The ${countOf(texts.length, "line", "lines")}`;
		if (!this.#answer) return this.#say("Ask something: the lines below are searched for it.");
		if (!texts.length) return this.#say("Paste some lines to search.");
		if (texts.length > MAX_LINES) return this.#say(`At most ${MAX_LINES} lines can be searched.`);
		const { original, queries } = this.#answer;
		const weight = Math.min(1, Math.max(0, byId("weight").valueAsNumber || 0));
		const reformulations = queries.filter((text) => text !== original);
		const stopWords = byId("stop-words").checked ? STOP_WORDS : new Set();
		const split = (text) => analyse(text, stopWords);
		const weighted = [
			{ words: split(original), weight: 1 },
			...reformulations.map((text) => ({ words: split(text), weight })),
		];
		const index = new Bm25(texts.map(split));
		const before = ranksOf(combine(index, weighted.slice(0, 1)));
		const after = ranksOf(combine(index, weighted));
		const sample = SAMPLES[this.#collection]?.queries.find(({ text }) => text === original);
		this.#outcome.replaceChildren(
			makeOutcome(before, after, reformulations.length, this.#answer),
			...(sample ? [makeAnswerRanks(before.get(sample.answer), after.get(sample.answer))] : []),
			makeQueries(original, reformulations, weight),
		);
		this.#fillTable(texts, { before, after, answer: sample?.answer, mark: makeMarker(weighted, split) });
	}

	#fillTable(texts, { before, after, answer, mark }) {
		const shown = [...after.keys()].filter(
			(line) => after.get(line) <= MAX_SHOWN || before.get(line) <= MAX_SHOWN,
		);
		const rows = shown.map((line) => {
			const badge = line === answer ? [" ", element("span.badge", "answers the query")] : [];
			return element(
				"tr",
				element("td", before.get(line) ?? "\u2013"),
				element("td", after.get(line)),
				element("td", makeMove(before.get(line), after.get(line))),
				element("td", { dir: "auto" }, ...markWords(texts[line], mark), ...badge),
			);
		});
		byId("ranks").tBodies[0].replaceChildren(...rows);
		byId("ranks-box").hidden = !rows.length;
	}
}

/** The rank of each line that is found, from 1, best first. */
function ranksOf(scores) {
	return new Map(rank(scores).map((line, place) => [line, place + 1]));
}

/** Says what the reformulations found. */
function makeOutcome(before, after, count, answer) {
	const first = `The query alone finds ${countOf(before.size, "line", "lines")}. `;
	if (!count) return element("p", first, reasonSentence(answer));
	const moved = [...before].filter(([line, rank]) => after.get(line) !== rank).length;
	const more = after.size - before.size;
	const added = more ? `${countOf(more, "line", "lines")} more` : "no other line";
	const moves = `${moved ? countOf(moved, "line has", "lines have") : "no line has"} another rank`;
	const changes = before.size ? `${added}; ${moves}` : added;
	const reformulations = countOf(count, "reformulation", "reformulations");
	return element("p", first, element("strong", `With ${reformulations}: ${changes}.`));
}

/** Says where the line is that answers the query of a sample. */
function makeAnswerRanks(before, after) {
	const place = (rank) => (rank ? `at rank ${rank}` : "not found");
	const ranks =
		before === after
			? `${place(after)}, with and without reformulations`
			: `${place(before)} by the query alone, ${place(after)} with reformulations`;
	return element("p", `The line that answers the query is ${ranks}.`);
}

function makeQueries(original, reformulations, weight) {
	const items = [[original, 1], ...reformulations.map((text) => [text, weight])].map(([text, boost]) =>
		element("li", element("span", { dir: "auto" }, text), element("small", `\u00d7 ${boost}`)),
	);
	return element("ul.searched", ...items);
}

/** Says how a line moved; without a rank before, it is new. */
function makeMove(before, after) {
	if (!before) return element("span.up", "new");
	if (before === after) return element("span.muted", "same");
	const direction = after < before ? "up" : "down";
	return element(`span.${direction}`, `${direction} ${Math.abs(before - after)}`);
}

/** Makes what tells how to mark a word: "mark" if the query has it, "ins" if a reformulation has. */
function makeMarker([query, ...others], split) {
	const has = ({ words }, word) => words.includes(word);
	return (text) => {
		const words = split(text);
		if (words.some((word) => has(query, word))) return "mark";
		return words.some((word) => others.some((other) => has(other, word))) ? "ins" : "";
	};
}

function markWords(text, mark) {
	return text.split(/([^\s\u2014-]+)/u).map((part) => {
		const tag = part.trim() && mark(part);
		return tag ? element(tag, part) : part;
	});
}
