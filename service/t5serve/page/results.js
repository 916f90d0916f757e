// What one side shows of an answer, while it comes and when it is whole.
import { difference } from "./difference.js";
import { element, number } from "./dom.js";

const REASONS = {
  queue_full: "The service is overloaded. This is the query as it was typed.",
  not_ready: "No model is ready. This is the query as it was typed.",
  deadline_exceeded: "The deadline passed. This is the query as it was typed.",
  no_usable_output: "The model has nothing better to offer. This is the query as it was typed.",
  server_error: "The service failed at this query. This is the query as it was typed.",
};
const PHASES = ["queue", "tokenize", "encode", "decode"];

export class Results {
  #query = "";
  #items = new Map();
  #state = element("p", { className: "outcome", role: "status" });
  #list = element("ol", { className: "reformulations" });
  #fault = element("p", { className: "fault", hidden: true });
  #latency = element("div", { className: "latency", hidden: true });
  #began = 0;
  #firstAfter = null;
  root = element(
    "div",
    { className: "results" },
    this.#state,
    this.#fault,
    this.#list,
    this.#latency,
  );

  constructor() {
    this.#state.textContent = "Nothing asked yet.";
  }

  begin(query) {
    this.#query = query;
    this.#began = performance.now();
    this.#firstAfter = null;
    this.#items.clear();
    this.#list.replaceChildren();
    this.#fault.hidden = true;
    this.#latency.hidden = true;
    this.root.setAttribute("aria-busy", "true");
    this.say("Asking");
  }

  say(text) {
    if (this.#state.textContent !== text) this.#state.textContent = text;
  }

  /** Takes one event of the stream. */
  take({ name, data }) {
    if (name === "token") this.#grow(data);
    if (name === "result") this.#settle(data);
    if (name === "done") this.#finish(data);
  }

  /** Says that it ended otherwise. */
  fail(message, ...actions) {
    this.#end();
    this.say("");
    this.#fault.replaceChildren(message, ...actions);
    this.#fault.hidden = false;
    this.#fault.setAttribute("role", "alert");
  }

  texts() {
    return [...this.#items.values()].map((item) => item.text);
  }

  #grow({ rank, text }) {
    this.#mark();
    const item = this.#item(rank);
    item.text += text;
    item.body.replaceChildren(...marked(difference(this.#query, item.text).parts));
  }

  #settle(result) {
    this.#mark();
    this.#items.clear();
    this.#list.replaceChildren();
    for (const one of result.reformulations) this.#show(one, result.original);
    if (result.fallback) this.#fallBack(result.fallback_reason);
  }

  #show(one, original) {
    const item = this.#item(one.rank);
    const { parts, removed } = difference(original, one.text);
    item.text = one.text;
    item.body.replaceChildren(...marked(parts));
    item.about.replaceChildren(...about(one, removed));
    item.root.dataset.source = one.source;
    item.root.append(copyButton(one));
  }

  #fallBack(reason) {
    this.#fault.replaceChildren(REASONS[reason] ?? REASONS.server_error);
    this.#fault.hidden = false;
    this.#fault.removeAttribute("role");
  }

  #finish(rest) {
    this.#end();
    const count = this.#items.size;
    this.say(
      `${count} ${count === 1 ? "reformulation" : "reformulations"} in ${number(rest.timings_ms.total)} ms`,
    );
    this.#latency.replaceChildren(...latency(rest, this.#firstAfter));
    this.#latency.hidden = false;
  }

  #end() {
    this.root.removeAttribute("aria-busy");
  }

  #item(rank) {
    if (!this.#items.has(rank)) {
      const body = element("p", { className: "text", dir: "auto" });
      const details = element("p", { className: "about" });
      const root = element("li", {}, element("div", { className: "grow" }, body, details));
      this.#items.set(rank, { root, body, about: details, text: "" });
      this.#list.append(root);
    }
    return this.#items.get(rank);
  }

  /** When the first text arrived, and when it could be seen: for whoever measures. */
  #mark() {
    if (this.#firstAfter !== null) return;
    this.#firstAfter = performance.now() - this.#began;
    this.say("Answering");
    performance.mark("answer-arrived");
    requestAnimationFrame(() => setTimeout(() => performance.mark("answer-painted")));
  }
}

function marked(parts) {
  return parts.map(({ text, added }) => (added ? element("ins", {}, text) : text));
}

function about({ score, tokens, source }, removed) {
  const shown = [element("span", { className: `source ${source}` }, source)];
  if (score !== null) {
    const likely = Math.exp(score);
    const meter = element("span", { className: "meter", "aria-hidden": "true" }, element("span"));
    meter.firstChild.style.width = `${Math.round(100 * likely)}%`;
    const title = `Mean log-probability of its tokens: ${Math.round(100 * likely)} % for each`;
    shown.push(
      element(
        "span",
        { className: "score", title },
        meter,
        `score ${score.toFixed(3).replace("-", "\u2212")}`,
      ),
    );
    shown.push(element("span", {}, `${tokens} ${tokens === 1 ? "token" : "tokens"}`));
  }
  if (removed.length) {
    const words = removed.map((run) => element("del", { dir: "auto" }, run));
    shown.push(element("span", { className: "removed" }, "without ", ...words));
  }
  return shown;
}

function copyButton({ text, rank }) {
  const button = element(
    "button",
    { type: "button", className: "quiet copy", "aria-label": `Copy reformulation ${rank}` },
    "Copy",
  );
  button.dataset.copies = text;
  return button;
}

/** The phases of an answer as a bar and in figures. */
function latency({ timings_ms: timings, usage }, firstAfter) {
  const known = PHASES.reduce((sum, phase) => sum + timings[phase], 0);
  const all = { ...timings, other: Math.max(0, timings.total - known) };
  const bar = element("div", { className: "phases", "aria-hidden": "true" });
  const figures = element("dl", { className: "figures" });
  for (const phase of [...PHASES, "other"]) {
    const part = element("span", { className: phase });
    part.style.flexGrow = all[phase];
    bar.append(part);
    figures.append(figure(phase, `${number(all[phase])} ms`));
  }
  figures.append(figure("total", `${number(timings.total)} ms`));
  const whole = `First text in this browser after ${number(firstAfter ?? 0)} ms; ${usage.prompt_tokens} tokens in, ${usage.completion_tokens} decoded.`;
  return [bar, figures, element("p", { className: "muted small" }, whole)];
}

function figure(name, value) {
  return element("div", { className: name }, element("dt", {}, name), element("dd", {}, value));
}
