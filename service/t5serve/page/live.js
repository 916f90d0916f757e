// How the service does, for whoever watches: looked at gently, while the tab is visible.
import { getQuietly } from "./api.js";
import { element, number } from "./dom.js";
import { between, snapshot } from "./prometheus.js";

const EVERY_MS = 5000;
const WINDOW_MS = 60_000;
const SVG = "http://www.w3.org/2000/svg";
const NAMES = ["Throughput", "p50", "p95", "Queue", "Running"];

export class Live {
  #figures = Object.fromEntries(NAMES.map((name) => [name, element("dd", {}, "–")]));
  #line = document.createElementNS(SVG, "polyline");
  #note = element("p", { className: "muted small" });
  #taken = [];
  #onRestart;

  /** `onRestart` is called when a worker was started anew between two looks. */
  constructor(root, onRestart) {
    this.#onRestart = onRestart;
    const chart = document.createElementNS(SVG, "svg");
    chart.setAttribute("viewBox", "0 0 120 28");
    chart.setAttribute("preserveAspectRatio", "none");
    chart.setAttribute("class", "spark");
    chart.setAttribute("aria-hidden", "true");
    chart.append(this.#line);
    const rows = NAMES.map((name) =>
      element("div", {}, element("dt", {}, name), this.#figures[name]),
    );
    root.replaceChildren(chart, element("dl", { className: "figures" }, ...rows), this.#note);
  }

  async watch() {
    for (;;) {
      if (!document.hidden) await this.look();
      await new Promise((resolve) => setTimeout(resolve, EVERY_MS));
    }
  }

  async look() {
    let text;
    try {
      text = await getQuietly("metrics");
    } catch (error) {
      this.#note.textContent =
        error.status === 401
          ? "Figures need the API key."
          : "No figures: the service does not answer.";
      return;
    }
    this.#take(snapshot(text, performance.now()));
    this.#draw();
  }

  #take(now) {
    const last = this.#taken.at(-1);
    if (last && now.requests < last.requests)
      this.#taken = []; // another process, from zero
    else if (last && now.restarts > last.restarts) this.#onRestart();
    this.#taken.push(now);
    const recent = this.#taken.findIndex((one) => now.at - one.at <= WINDOW_MS);
    this.#taken.splice(0, Math.max(0, recent - 1));
  }

  #draw() {
    const [oldest, newest] = [this.#taken[0], this.#taken.at(-1)];
    this.#figures.Queue.textContent = String(newest.waiting);
    this.#figures.Running.textContent = String(newest.running);
    if (oldest === newest) return;
    const { requests, quantile } = between(oldest, newest);
    const seconds = (newest.at - oldest.at) / 1000;
    this.#figures.Throughput.textContent = `${number(requests / seconds)} /s`;
    this.#figures.p50.textContent = milliseconds(quantile(0.5));
    this.#figures.p95.textContent = milliseconds(quantile(0.95));
    this.#note.textContent = requests ? "" : "No requests in the last minute.";
    this.#line.setAttribute("points", points(this.#taken));
  }
}

function milliseconds(found) {
  if (found === null) return "–";
  return `${found.isLeast ? "over " : ""}${number(1000 * found.seconds)} ms`;
}

/** Requests a second between neighbours, as a line from the first look to the last. */
function points(taken) {
  const rates = taken.slice(1).map((one, index) => ({
    at: one.at,
    rate: (1000 * (one.requests - taken[index].requests)) / (one.at - taken[index].at),
  }));
  const most = Math.max(...rates.map(({ rate }) => rate), 1);
  const [begin, end] = [rates[0].at, rates.at(-1).at];
  return rates
    .map(({ at, rate }) => [(120 * (at - begin)) / (end - begin || 1), 26 - (24 * rate) / most])
    .map((point) => point.map((value) => value.toFixed(1)).join(","))
    .join(" ");
}
