// The service's HTTP interface.
import { serverEvents } from "./events.js";
import { load, save } from "./storage.js";

const SILENCE_MS = 3000; // without an answer to a probe, the service does not answer

/** The service answered with an error. */
export class Refused extends Error {
	constructor(status, error = {}, retryAfter = 1) {
		super(error.message ?? `the service answered ${status}`);
		this.status = status;
		this.code = error.code;
		this.param = error.param;
		this.retryAfter = retryAfter;
	}
}

/** The service did not answer, or its answer broke off. */
export class Unreachable extends Error {
	constructor() {
		super("The service does not answer.");
	}
}

let key = load("sessionStorage", "t5serve.key", "");
let askForKey = async () => "";
let keyRequest = null; // promise of the answer while askForKey runs

/** Whether the page waits for the user to type a key. */
export function isAskingForKey() {
	return keyRequest !== null;
}

/** Dispatches "change" when there is another key. */
export const credentials = new EventTarget();

/** Sets the function that asks the user for a key; an empty answer means no key. */
export function onKeyNeeded(callback) {
	askForKey = callback;
}

export function loadKey() {
	return key;
}

export function hasKey() {
	return key !== "";
}

export function setKey(value) {
	key = value.trim();
	save("sessionStorage", "t5serve.key", key || undefined);
	credentials.dispatchEvent(new Event("change"));
}

/** Fetches JSON. */
export async function getJson(path) {
	return (await send(path)).json();
}

/** Fetches text; never asks for a key. */
export async function getText(path) {
	return (await call(path, { signal: AbortSignal.timeout(SILENCE_MS) })).text();
}

/** Fetches /readyz: {ready, message, models}; `models` has the state of each by name. */
export async function getReadiness() {
	const signal = AbortSignal.timeout(SILENCE_MS);
	const response = await fetchWithKey("readyz", { cache: "no-store", signal });
	const body = await response.json().catch(() => ({}));
	return { ready: response.ok, message: body.error?.message ?? "", models: body.models ?? {} };
}

/** Reformulates a query, and returns its result. */
export async function reformulateOnce(body, signal) {
	const { results } = await (await sendBody(body, signal)).json();
	return results[0];
}

/** Reformulates a query; yields the events of the stream as they arrive. */
export async function* reformulate(body, signal) {
	const response = await sendBody({ ...body, stream: true }, signal);
	let ended = false;
	try {
		for await (const event of serverEvents(response.body)) {
			if (event.name === "error") throw new Refused(statusOf(event.data.error), event.data.error);
			ended = event.name === "done";
			yield event;
		}
	} catch (error) {
		if (error instanceof Refused || signal.aborted) throw error;
		throw new Unreachable();
	}
	if (!ended) throw new Unreachable();
}

function sendBody(body, signal) {
	return send("v1/reformulate", {
		method: "POST",
		headers: { "Content-Type": "application/json" },
		body: JSON.stringify(body),
		signal,
	});
}

/** The status that an error's code stands for: a stream that fails has already begun with 200. */
function statusOf(error) {
	return { queue_full: 429, not_ready: 503, deadline_exceeded: 504 }[error.code] ?? 500;
}

/** Fetches; asks for another key as long as the service refuses the key. */
async function send(path, options) {
	for (;;) {
		const usedKey = key;
		try {
			return await call(path, options);
		} catch (error) {
			if (error.status !== 401) throw error;
			if (key === usedKey) {
				keyRequest ??= askForKey(usedKey !== "").finally(() => (keyRequest = null));
				const newKey = await keyRequest;
				if (!newKey) throw error;
				setKey(newKey);
			}
		}
	}
}

/** Fetches; throws Refused unless the status is 2xx. */
async function call(path, options) {
	const response = await fetchWithKey(path, options);
	if (response.ok) return response;
	const body = await response.json().catch(() => ({}));
	throw new Refused(response.status, body.error, Number(response.headers.get("retry-after")) || 1);
}

/** Fetches with the key, if there is one; throws Unreachable if there is no response. */
export async function fetchWithKey(path, options = {}) {
	const headers = { ...options.headers };
	// fetch sends each character as one byte; the service compares the key's UTF-8 bytes.
	if (key) headers.Authorization = `Bearer ${String.fromCharCode(...new TextEncoder().encode(key))}`;
	try {
		return await fetch(path, { ...options, headers });
	} catch (error) {
		if (options.signal?.aborted && options.signal.reason?.name !== "TimeoutError") throw error;
		throw new Unreachable();
	}
}
