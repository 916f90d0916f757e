// What the service says in names, in words. Names that are not here are shown as they are.

import { element } from "./dom.js";

/** Why an answer is the query itself: `unchanged_reason` and `fallback_reason` of a result. */
const REASONS = {
	already_good: "the model finds no better wording",
	code: "it looks like code",
	guard: "every other wording lost or changed something that must stay",
	identifier: "it is an identifier",
	language: "it is in a language that this task leaves alone",
	name: "it is a name",
	too_long_to_rewrite: "it is longer than this task rewrites",
	deadline_exceeded: "the deadline passed before there was an answer",
	input_quarantined: "this text ended the model's process before, so it is not tried again",
	no_usable_output: "the model wrote nothing that could be used",
	not_ready: "no model is ready",
	queue_full: "the service is overloaded",
	server_error: "the service failed at it",
};

/** Says why the result of a query is the query itself. */
export function reasonSentence({ fallback_reason, unchanged_reason }) {
	const reason = fallback_reason ?? unchanged_reason;
	if (!reason) return "Left as it is, because the answer is the query itself.";
	return `Left as it is, because ${REASONS[reason] ?? `the service says ${reason}`}.`;
}

const FIELDS = {
	n: "How many",
	strategy: "How to decode",
	max_tokens: "Most tokens of an answer",
	include_original: "Put the query itself first",
	preserve: "What must stay",
	terms: "Words to keep",
	history: "Earlier queries",
	min_score: "Least score",
	min_difference: "Least difference",
	timeout_ms: "Deadline in milliseconds",
	strict: "An error instead of the query itself",
	cache: "Answers from the cache",
	num_beams: "Beams",
	num_beam_groups: "Groups of beams",
	length_penalty: "Preference for length",
	diversity_penalty: "Difference between groups",
	top_k: "Number of likely tokens to draw from",
	top_p: "Share of likely tokens to draw from",
	min_p: "Least probability, relative",
	typical_p: "Share of typical tokens to draw from",
	repetition_penalty: "Penalty for repetition",
	no_repeat_ngram_size: "Tokens that never repeat in a row",
};

function fieldName(name) {
	const plain = name.replaceAll("_", " ");
	return FIELDS[name] ?? plain.charAt(0).toUpperCase() + plain.slice(1);
}

/** Makes the title of a field: its name in words, and the parameter's where that differs. */
export function fieldTitle(name) {
	const words = fieldName(name);
	return words.toLowerCase() === name ? [words] : [`${words} `, element("code", name)];
}

const VALUES = {
	aspects: "what is asked",
	capitalised: "capitalised names",
	content: "content words",
	identifiers: "code and part numbers",
	keywords: "most content words",
	negation: "negation",
	numbers: "numbers",
	quoted: "quoted phrases",
	rare: "rare words",
	auto: "automatic",
	greedy: "the likeliest token each time",
	beam: "beam search",
	diverse_beam: "diverse beam search",
	sample: "random draws",
};

/** Names a value of a field as people say it. */
export function valueName(value) {
	return VALUES[value] ?? value;
}

const PHASES = {
	queue: ["waiting", "Until a worker process was free, and messages reached it."],
	tokenize: ["splitting", "Splitting the query into tokens."],
	encode: ["reading", "The model's encoder reads the query, once."],
	decode: ["writing", "The model's decoder writes the candidates, token by token."],
	other: [
		"the rest",
		"Choosing among the candidates and checking them with guards, and the messages between the service's processes.",
	],
	total: ["in all", "From the request's arrival until the answer was ready."],
};

/** Names a phase of an answer, and says what it is. */
export function phaseWords(phase) {
	return PHASES[phase] ?? [phase, ""];
}
