// Where the time of an answer went: as a bar, in figures, and in words.
import { element, formatNumber } from "./dom.js";
import { phaseWords } from "./words.js";

/** Makes the phases of an answer. */
export function makeLatency({ timings_ms: timings, usage }, firstTextMs, isCached) {
	const { total, ...phases } = timings;
	const measured = Object.values(phases).reduce((sum, duration) => sum + duration, 0);
	const durations = { ...phases, other: Math.max(0, total - measured) };
	const bar = element("div.phases", { "aria-hidden": "true" });
	const figures = element("dl.figures");
	const meanings = element("dl.meanings");
	for (const [phase, duration] of Object.entries({ ...durations, total })) {
		const [name, meaning] = phaseWords(phase);
		if (phase !== "total") {
			const segment = element("span", { className: phase });
			segment.style.flexGrow = duration;
			bar.append(segment);
		}
		figures.append(makeFigure(phase, name, `${formatNumber(duration)} ms`));
		meanings.append(element("dt", name, " ", element("code", phase)), element("dd", meaning));
	}
	const decoded = isCached ? "decoded earlier, since the answer is from the cache" : "decoded";
	const note =
		`The first text reached this browser after ${formatNumber(firstTextMs ?? 0)} ms. ` +
		`${usage.prompt_tokens} tokens were read, ${usage.completion_tokens} ${decoded}.`;
	const explained = element(
		"details.more",
		element("summary", "What the times mean"),
		meanings,
		element("p.muted.small", note),
	);
	return [bar, figures, explained];
}

function makeFigure(phase, name, value) {
	return element("div", { className: phase }, element("dt", name), element("dd", value));
}
