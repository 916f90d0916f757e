// Whether the service is ready: polled while the tab is visible, more often while it is not ready.
import { getReadiness } from "./api.js";
import { pause } from "./dom.js";

const READY_INTERVAL_MS = 2000; // a process that hangs is noticed within seconds
const NOT_READY_INTERVAL_MS = 500;

/**
 * The state of the service; dispatches "change" when it changes, and "models" when the models do.
 *
 * `state` is "connecting" at first, then "ready", "down" or the state that /readyz reports;
 * `isLocked`: whether the service wants a key, and none was given.
 */
export class ServiceStatus extends EventTarget {
	state = "connecting";
	message = "";
	isLocked = false;
	#models = "{}";
	#wake = new AbortController();

	async watch() {
		document.addEventListener("visibilitychange", () => this.check());
		for (;;) {
			if (!document.hidden) await this.#poll();
			this.#wake = new AbortController();
			const isCalm = this.state === "ready" || document.hidden;
			const interval = isCalm ? READY_INTERVAL_MS : NOT_READY_INTERVAL_MS;
			await pause(interval, this.#wake.signal).catch(() => {});
		}
	}

	/** Polls now instead of after the interval. */
	check() {
		this.#wake.abort();
	}

	/** Polls until the service is ready. */
	async whenReady(signal) {
		this.#set("checking", "");
		this.check();
		while (this.state !== "ready") await pause(100, signal);
	}

	async #poll() {
		try {
			const { ready, message, models } = await getReadiness();
			const state = /^the service is (\w+)/.exec(message)?.[1] ?? "restarting";
			this.#set(ready ? "ready" : state, message);
			if (ready) this.#compare(JSON.stringify(models));
		} catch (error) {
			this.#set("down", error.message);
		}
	}

	#compare(models) {
		const isFirst = this.#models === "{}";
		const isSame = models === this.#models;
		this.#models = models;
		if (!isFirst && !isSame) this.dispatchEvent(new Event("models"));
	}

	#set(state, message) {
		if (state === this.state) return;
		this.state = state;
		this.message = message;
		if (state !== "checking") this.dispatchEvent(new Event("change"));
	}
}
