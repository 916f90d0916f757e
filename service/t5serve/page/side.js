// A side: a panel of settings and the answer to them. Two sides compare two settings.
import { Refused, reformulate, Unreachable } from "./api.js";
import { Code } from "./code.js";
import { element, pause } from "./dom.js";
import { Results } from "./results.js";
import { Settings } from "./settings.js";

const MAX_ATTEMPTS = 6;
const TEMPORARY = new Set(["queue_full", "not_ready"]);

export class Side {
  results = new Results();
  #status;
  #retry;
  #query = "";
  #signal = null;

  /** `getQuery` returns the query as typed so far; `retry` asks again. */
  constructor(schema, name, status, { getQuery, retry }) {
    this.name = name;
    this.settings = new Settings(schema, name);
    this.#status = status;
    this.#retry = retry;
    this.code = new Code(
      () => ({ query: getQuery(), settings: this.settings.values(), model: this.settings.model.id }),
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

  /** Offers the models and their tasks. */
  describe(models) {
    this.settings.describe(models);
  }

  /** Asks, and asks again after temporary errors; returns whether there was an answer. */
  async ask(query, signal) {
    this.#query = query;
    this.#signal = signal;
    try {
      await this.#askUntilAnswered(signal);
      return true;
    } catch (error) {
      const isReplaced = this.#signal !== signal; // by a newer question
      if (!isReplaced) this.#fail(error, signal);
      return false;
    }
  }

  async #askUntilAnswered(signal) {
    for (let attempt = 1; ; attempt++) {
      try {
        const reason = await this.#askOnce(signal);
        if (!reason || attempt === MAX_ATTEMPTS) return;
        await this.#wait({ code: reason, retryAfter: 1 }, signal);
      } catch (error) {
        const isTemporary = error instanceof Unreachable || TEMPORARY.has(error.code);
        if (!isTemporary || attempt === MAX_ATTEMPTS) throw error;
        await this.#wait(error, signal);
      }
    }
  }

  /** Sends one request; returns the reason if the answer is the query after a temporary error. */
  async #askOnce(signal) {
    this.results.begin(this.#query, this.settings.task in this.settings.model.separators);
    let reason = null;
    const body = { query: this.#query, ...this.settings.values(), stream: true };
    for await (const event of reformulate(body, signal)) {
      this.results.handle(event);
      if (event.name === "result") reason = event.data.fallback_reason;
    }
    return TEMPORARY.has(reason) ? reason : null;
  }

  async #wait(error, signal) {
    if (error.code === "queue_full") {
      this.results.say(`The service is overloaded. Asking again in ${error.retryAfter} s.`);
      await pause(1000 * error.retryAfter, signal);
    } else {
      const problem =
        error instanceof Unreachable ? "The service does not answer." : "The service is not ready.";
      this.results.say(`${problem} Asking again as soon as it is.`);
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
    this.settings.markInvalid(error.param, error.message);
    const retryButton = element("button", { type: "button", onclick: this.#retry }, "Try again");
    this.results.fail(`${errorSentence(error)} `, ...(error.status === 400 ? [] : [retryButton]));
  }
}

function errorSentence(error) {
  if (error.code === "queue_full") return "The service is overloaded, and was so each time.";
  if (error.code === "invalid_api_key") return "Without a right key the service does not answer.";
  const text = `${error.message}${/[.!?]$/.test(error.message) ? "" : "."}`;
  // A message that begins with a parameter's name keeps its lower case.
  return text.startsWith(error.param) ? text : `${text.charAt(0).toUpperCase()}${text.slice(1)}`;
}
