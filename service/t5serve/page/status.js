// Whether the service can be asked: looked at while the tab is visible, oftener while it can't.
import { readiness } from "./api.js";
import { pause } from "./dom.js";

const CALM_MS = 5000;
const EAGER_MS = 1000;

/** Tells of changes as {state, message}: ready, loading, restarting, draining, failed, down. */
export class ServiceStatus extends EventTarget {
  state = "connecting";
  message = "";
  model = "";
  #wake = new AbortController();

  async watch() {
    document.addEventListener("visibilitychange", () => this.check());
    for (;;) {
      if (!document.hidden) await this.#look();
      this.#wake = new AbortController();
      const calm = this.state === "ready" || document.hidden;
      await pause(calm ? CALM_MS : EAGER_MS, this.#wake.signal).catch(() => {});
    }
  }

  /** Looks now instead of in a while. */
  check() {
    this.#wake.abort();
  }

  /** Resolves once a look has found the service ready. */
  async whenReady(signal) {
    this.#set("checking", "");
    this.check();
    while (this.state !== "ready") await pause(100, signal);
  }

  async #look() {
    try {
      const { ready, message, model } = await readiness();
      this.model = model || this.model;
      this.#set(ready ? "ready" : message.replace(/^the service is /, "") || "restarting", message);
    } catch (error) {
      this.#set("down", error.message);
    }
  }

  #set(state, message) {
    if (state === this.state) return;
    this.state = state;
    this.message = message;
    if (state !== "checking") this.dispatchEvent(new Event("change"));
  }
}
