// One setting with what came of it; there are two of them when settings are compared.
import { Refused, reformulate, Unreachable } from "./api.js";
import { Code } from "./code.js";
import { element, pause } from "./dom.js";
import { Results } from "./results.js";
import { Settings } from "./settings.js";

const ATTEMPTS = 6;
const PASSING = new Set(["queue_full", "not_ready"]);

export class Side {
  results = new Results();
  #status;
  #retry;
  #query = "";
  #signal = null;

  /** `typed` gives the query as it stands; `retry` asks again. */
  constructor(schema, name, status, { typed, retry }) {
    this.name = name;
    this.settings = new Settings(schema, name);
    this.#status = status;
    this.#retry = retry;
    this.code = new Code(
      () => ({ query: typed(), settings: this.settings.values(), model: status.model }),
      name,
    );
    this.settings.root.addEventListener("change", () => this.code.update());
    this.root = element(
      "section",
      { className: "side card", "aria-label": `Setting ${name}` },
      element("h2", { className: "letter" }, name),
      this.settings.root,
      this.results.root,
      this.code.root,
    );
  }

  /** Asks, again where what is wrong will pass; whether it was answered. */
  async ask(query, signal) {
    this.#query = query;
    this.#signal = signal;
    try {
      await this.#persist(signal);
      return true;
    } catch (error) {
      const isReplaced = this.#signal !== signal; // by a newer question, which has the place now
      if (!isReplaced) this.#fail(error, signal);
      return false;
    }
  }

  async #persist(signal) {
    for (let attempt = 1; ; attempt++) {
      try {
        const passing = await this.#once(signal);
        if (!passing || attempt === ATTEMPTS) return;
        await this.#wait({ code: passing, retryAfter: 1 }, signal);
      } catch (error) {
        const passes = error instanceof Unreachable || PASSING.has(error.code);
        if (!passes || attempt === ATTEMPTS) throw error;
        await this.#wait(error, signal);
      }
    }
  }

  /** One request; the reason, if the original stands in for one that will pass. */
  async #once(signal) {
    this.results.begin(this.#query);
    let reason = null;
    const body = { query: this.#query, ...this.settings.values(), stream: true };
    for await (const event of reformulate(body, signal)) {
      this.results.take(event);
      if (event.name === "result") reason = event.data.fallback_reason;
    }
    return PASSING.has(reason) ? reason : null;
  }

  async #wait(error, signal) {
    if (error.code === "queue_full") {
      this.results.say(`The service is overloaded. Asking again in ${error.retryAfter} s.`);
      await pause(1000 * error.retryAfter, signal);
    } else {
      const what =
        error instanceof Unreachable ? "The service does not answer." : "The service is not ready.";
      this.results.say(`${what} Asking again as soon as it is.`);
      await pause(200, signal);
      await this.#status.whenReady(signal);
    }
  }

  #fail(error, signal) {
    if (signal.aborted) {
      this.results.fail("Stopped.");
      return;
    }
    if (!(error instanceof Refused || error instanceof Unreachable)) throw error;
    this.settings.fault(error.param, error.message);
    const again = element("button", { type: "button", onclick: this.#retry }, "Try again");
    this.results.fail(`${sentence(error)} `, ...(error.status === 400 ? [] : [again]));
  }
}

function sentence(error) {
  if (error.code === "queue_full") return "The service is overloaded, and was so each time.";
  if (error.code === "invalid_api_key") return "Without a right key the service does not answer.";
  const text = `${error.message}${/[.!?]$/.test(error.message) ? "" : "."}`;
  // The name of a field stays as it is.
  return text.startsWith(error.param) ? text : `${text.charAt(0).toUpperCase()}${text.slice(1)}`;
}
