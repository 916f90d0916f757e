// The words that a reformulation changed: marked in its text, and said in words.
import { element } from "./dom.js";

/** Marks the added words of a text; `parts` are those of its difference from the query. */
export function markAdded(parts) {
	return parts.map(({ text, added }) => (added ? element("ins", text) : text));
}

/** Says in words which words came and which went. */
export function makeChanges({ parts, removed }) {
	const added = parts.filter((part) => part.added).map(({ text }) => text);
	if (!added.length && !removed.length) return [element("span", "nothing changed")];
	const say = (label, tag, runs) =>
		runs.length ? [element("span.changes", `${label} `, ...joined(runs, tag))] : [];
	return [...say("new:", "ins", added), ...say("left out:", "del", removed)];
}

function joined(runs, tag) {
	return runs.flatMap((run) => [element(tag, { dir: "auto" }, run), " "]);
}
