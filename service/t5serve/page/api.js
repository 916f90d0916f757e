// The service's HTTP interface.
import { serverEvents } from "./events.js";
import { load, save } from "./storage.js";

/** The service said no. */
export class Refused extends Error {
  constructor(status, error = {}, retryAfter = 1) {
    super(error.message ?? `the service answered ${status}`);
    this.status = status;
    this.code = error.code;
    this.param = error.param;
    this.retryAfter = retryAfter;
  }
}

/** The service did not say anything, or stopped in the middle. */
export class Unreachable extends Error {
  constructor() {
    super("The service does not answer.");
  }
}

let key = load("sessionStorage", "t5serve.key", "");
let askForKey = async () => "";
let asking = null;

/** Sets who is asked for a key; an empty answer means that there is none. */
export function onKeyNeeded(ask) {
  askForKey = ask;
}

export function hasKey() {
  return key !== "";
}

export function setKey(value) {
  key = value.trim();
  save("sessionStorage", "t5serve.key", key || undefined);
}

/** JSON from a path. */
export async function getJson(path) {
  return (await send(path)).json();
}

/** Text from a path, without asking for a key. */
export async function getQuietly(path) {
  return (await call(path)).text();
}

/** What /readyz says: {ready, message}. */
export async function readiness() {
  const response = await attempt("readyz", { cache: "no-store" });
  const body = await response.json().catch(() => ({}));
  return { ready: response.ok, message: body.error?.message ?? "", model: body.model ?? "" };
}

/** The events of one reformulation, as they come. */
export async function* reformulate(body, signal) {
  const response = await send("v1/reformulate", {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify(body),
    signal,
  });
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

/** Streams have begun with 200 when they fail; the code tells what it would have been. */
function statusOf(error) {
  return { queue_full: 429, not_ready: 503, deadline_exceeded: 504 }[error.code] ?? 500;
}

async function send(path, options) {
  for (;;) {
    const used = key;
    try {
      return await call(path, options);
    } catch (error) {
      if (error.status !== 401) throw error;
      if (key === used) {
        asking ??= askForKey(used !== "").finally(() => (asking = null));
        const given = await asking;
        if (!given) throw error;
        setKey(given);
      }
    }
  }
}

async function call(path, options) {
  const response = await attempt(path, options);
  if (response.ok) return response;
  const body = await response.json().catch(() => ({}));
  throw new Refused(response.status, body.error, Number(response.headers.get("retry-after")) || 1);
}

async function attempt(path, options = {}) {
  const headers = { ...options.headers };
  // fetch takes one character for one byte; the service compares bytes.
  if (key)
    headers.Authorization = `Bearer ${String.fromCharCode(...new TextEncoder().encode(key))}`;
  try {
    return await fetch(path, { ...options, headers });
  } catch (error) {
    if (options.signal?.aborted) throw error;
    throw new Unreachable();
  }
}
