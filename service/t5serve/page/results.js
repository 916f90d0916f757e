// The answer of one side, while it arrives and when it is complete.
import { difference } from "./difference.js";
import { element, formatNumber } from "./dom.js";

const REASONS = {
  queue_full: "The service is overloaded. This is the query as it was typed.",
  not_ready: "No model is ready. This is the query as it was typed.",
  deadline_exceeded: "The deadline passed. This is the query as it was typed.",
  no_usable_output: "The model has nothing better to offer. This is the query as it was typed.",
  server_error: "The service failed at this query. This is the query as it was typed.",
};
const UNCHANGED = {
  already_good: "the model finds nothing better",
  code: "it looks like code",
  guard: "every other wording lost or changed something",
  identifier: "it is an identifier",
  language: "it is in another language",
  name: "it is a name",
  too_long_to_rewrite: "it is too long to rewrite",
};
const PHASES = ["queue", "tokenize", "encode", "decode"];

export class Results {
  #query = "";
  #items = new Map();
  #isChanged = true;
  #isCached = false;
  #isList = false;
  #scores = new Set();
  #state = element("p", { className: "outcome", role: "status" });
  #list = element("ol", { className: "reformulations" });
  #fault = element("p", { className: "fault", hidden: true });
  #latency = element("div", { className: "latency", hidden: true });
  #startedAt = 0;
  #firstTextMs = null;
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

  /** `isList`: whether one answer can be several queries. */
  begin(query, isList) {
    this.#query = query;
    this.#isList = isList;
    this.#startedAt = performance.now();
    this.#firstTextMs = null;
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

  /** Handles one event of the stream. */
  handle({ name, data }) {
    if (name === "token") this.#append(data);
    if (name === "result") this.#showResult(data);
    if (name === "done") this.#finish(data);
  }

  /** Shows why there is no answer. */
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

  #append({ rank, text }) {
    this.#markFirstText();
    const item = this.#item(rank);
    item.text += text;
    item.body.replaceChildren(...markAdded(difference(this.#query, item.text).parts));
  }

  #showResult(result) {
    this.#markFirstText();
    this.#items.clear();
    this.#scores.clear();
    this.#list.replaceChildren();
    for (const reformulation of result.reformulations) this.#show(reformulation, result.original);
    if (result.fallback) this.#explain(REASONS[result.fallback_reason] ?? REASONS.server_error);
    if (result.unchanged_reason) {
      this.#explain(`Left as it is, because ${UNCHANGED[result.unchanged_reason]}.`);
    }
    this.#isChanged = result.changed;
    this.#isCached = result.cached;
  }

  #show(reformulation, original) {
    const item = this.#item(reformulation.rank);
    const { parts, removed } = difference(original, reformulation.text);
    item.text = reformulation.text;
    item.body.replaceChildren(...markAdded(parts));
    item.details.replaceChildren(...this.#details(reformulation, removed));
    item.root.dataset.source = reformulation.source;
    item.root.append(makeCopyButton(reformulation));
  }

  /** The queries of a list share its score, and none has all words of the query that was typed. */
  #details(reformulation, removed) {
    const { score } = reformulation;
    if (!this.#isList) return makeDetails(reformulation, removed);
    const isFirst = !this.#scores.has(score);
    if (score !== null) this.#scores.add(score);
    return makeDetails(reformulation, [], isFirst ? "list" : "");
  }

  #explain(sentence) {
    this.#fault.replaceChildren(sentence);
    this.#fault.hidden = false;
    this.#fault.removeAttribute("role");
  }

  #finish(done) {
    this.#end();
    const outcome = this.#isChanged ? this.#count() : "The query as it was typed,";
    const source = this.#isCached ? ", from the cache" : "";
    this.say(`${outcome} in ${formatNumber(done.timings_ms.total)} ms${source}`);
    this.#latency.replaceChildren(...makeLatency(done, this.#firstTextMs, this.#isCached));
    this.#latency.hidden = false;
  }

  #count() {
    const count = this.#items.size;
    if (!this.#isList) return countOf(count, "reformulation", "reformulations");
    const lists = countOf(this.#scores.size, "answer", "answers");
    return `${lists} of ${countOf(count, "query", "queries")}`;
  }

  #end() {
    this.root.removeAttribute("aria-busy");
  }

  #item(rank) {
    if (!this.#items.has(rank)) {
      const body = element("p", { className: "text", dir: "auto" });
      const details = element("p", { className: "about" });
      const root = element("li", {}, element("div", { className: "grow" }, body, details));
      this.#items.set(rank, { root, body, details, text: "" });
      this.#list.append(root);
    }
    return this.#items.get(rank);
  }

  /** Records when the first text arrived and when it was painted; performance marks for tests. */
  #markFirstText() {
    if (this.#firstTextMs !== null) return;
    this.#firstTextMs = performance.now() - this.#startedAt;
    this.say("Answering");
    performance.mark("answer-arrived");
    requestAnimationFrame(() => setTimeout(() => performance.mark("answer-painted")));
  }
}

function markAdded(parts) {
  return parts.map(({ text, added }) => (added ? element("ins", {}, text) : text));
}

function countOf(count, one, several) {
  return `${count} ${count === 1 ? one : several}`;
}

/** `scored`: what the score is of, "" to leave it out. */
function makeDetails({ score, tokens, source }, removed, scored = "text") {
  const details = [element("span", { className: `source ${source}` }, source)];
  if (score !== null && scored) {
    const probability = Math.exp(score);
    const meter = element("span", { className: "meter", "aria-hidden": "true" }, element("span"));
    meter.firstChild.style.width = `${Math.round(100 * probability)}%`;
    const owner = scored === "list" ? "the whole answer's" : "its";
    const title = `Mean log-probability of ${owner} tokens: ${Math.round(100 * probability)} % for each`;
    details.push(
      element(
        "span",
        { className: "score", title },
        meter,
        `score ${score.toFixed(3).replace("-", "\u2212")}`,
      ),
    );
  }
  if (score !== null) {
    details.push(element("span", {}, `${tokens} ${tokens === 1 ? "token" : "tokens"}`));
  }
  if (removed.length) {
    const words = removed.map((run) => element("del", { dir: "auto" }, run));
    details.push(element("span", { className: "removed" }, "without ", ...words));
  }
  return details;
}

function makeCopyButton({ text, rank }) {
  const button = element(
    "button",
    { type: "button", className: "quiet copy", "aria-label": `Copy reformulation ${rank}` },
    "Copy",
  );
  button.dataset.copies = text;
  return button;
}

/** Makes the phases of an answer, as a bar and in figures. */
function makeLatency({ timings_ms: timings, usage }, firstTextMs, isCached) {
  const measured = PHASES.reduce((sum, phase) => sum + timings[phase], 0);
  const durations = { ...timings, other: Math.max(0, timings.total - measured) };
  const bar = element("div", { className: "phases", "aria-hidden": "true" });
  const figures = element("dl", { className: "figures" });
  for (const phase of [...PHASES, "other"]) {
    const segment = element("span", { className: phase });
    segment.style.flexGrow = durations[phase];
    bar.append(segment);
    figures.append(makeFigure(phase, `${formatNumber(durations[phase])} ms`));
  }
  figures.append(makeFigure("total", `${formatNumber(timings.total)} ms`));
  const note = `First text in this browser after ${formatNumber(firstTextMs ?? 0)} ms; ${usage.prompt_tokens} tokens in, ${usage.completion_tokens} decoded${isCached ? " earlier: the answer is from the cache" : ""}.`;
  return [bar, figures, element("p", { className: "muted small" }, note)];
}

function makeFigure(name, value) {
  return element("div", { className: name }, element("dt", {}, name), element("dd", {}, value));
}
