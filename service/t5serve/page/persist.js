// Asks until there is an answer: after temporary errors again, and says meanwhile what is the matter.
import { isAskingForKey, Refused, Unreachable } from "./api.js";
import { pause } from "./dom.js";

const MAX_ATTEMPTS = 6;
const LATE_MS = 2000; // without a word from the service, the page says something itself
const TEMPORARY = new Set(["queue_full", "rate_limited", "not_ready"]);

/**
 * Makes a request, and makes it again after temporary errors; returns or throws what the last did.
 *
 * `request` returns a result, or an object with its `fallback_reason`.
 * `say` shows a sentence; `status` is the ServiceStatus; `hasBegun` says whether a part of the
 * answer has arrived.
 */
export async function persist(request, { say, status, signal, hasBegun = () => false }) {
	for (let attempt = 1; ; attempt++) {
		const isLast = attempt === MAX_ATTEMPTS;
		const stopWatching = watchDelay(say, status, hasBegun);
		try {
			const answer = await request();
			if (isLast || !TEMPORARY.has(answer.fallback_reason)) return answer;
			stopWatching();
			await wait({ code: answer.fallback_reason, retryAfter: 1 }, { say, status, signal });
		} catch (error) {
			stopWatching();
			const isTemporary = error instanceof Unreachable || TEMPORARY.has(error.code);
			if (isLast || !isTemporary || signal.aborted) throw error;
			await wait(error, { say, status, signal });
		} finally {
			stopWatching();
		}
	}
}

async function wait(error, { say, status, signal }) {
	if (error.code === "queue_full" || error.code === "rate_limited") {
		const problem = error.code === "queue_full" ? "The service is overloaded" : "These are too many requests";
		say(`${problem}. The page asks again in ${error.retryAfter} s.`);
		await pause(1000 * error.retryAfter, signal);
	} else {
		const isGone = error instanceof Unreachable;
		say(
			isGone
				? "The service does not answer. The page asks again once it does."
				: "The service is not ready. The page asks again once it is ready.",
		);
		await pause(200, signal);
		await status.whenReady(signal);
	}
}

/** Says what delays an answer, from when it is late on; returns what ends that. */
function watchDelay(say, status, hasBegun) {
	let startedAt = performance.now();
	const timer = setInterval(() => {
		if (isAskingForKey()) startedAt = performance.now(); // the user's time, not the service's
		const elapsed = performance.now() - startedAt;
		if (elapsed < LATE_MS || hasBegun()) return;
		status.check();
		const seconds = Math.floor(elapsed / 5000) * 5 || 2; // not each second: it is read aloud
		say(`No answer for ${seconds} s. ${DELAYS[status.state] ?? DELAYS.ready}`);
	}, 1000);
	return () => clearInterval(timer);
}

const DELAYS = {
	ready: "The model is busy, or its process hangs: then the service starts another one.",
	restarting: "The model's process has ended. Another one is being started.",
	loading: "The model is being loaded.",
	down: "The service itself does not respond.",
};

/** Says an error of a request in a sentence. */
export function errorSentence(error) {
	if (error.code === "queue_full") return "The service is overloaded, and was so each time.";
	if (error.code === "invalid_api_key") return "The service answers only with an API key.";
	if (!(error instanceof Refused || error instanceof Unreachable)) throw error;
	const text = `${error.message}${/[.!?]$/.test(error.message) ? "" : "."}`;
	// A message that begins with a parameter's name keeps its lower case.
	return text.startsWith(error.param) ? text : `${text.charAt(0).toUpperCase()}${text.slice(1)}`;
}
