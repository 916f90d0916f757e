// The service's figures of the last minute, read from /metrics while the tab is visible.
import { getText } from "./api.js";
import { element, formatNumber } from "./dom.js";
import { compareSnapshots, readSnapshot } from "./prometheus.js";

const INTERVAL_MS = 2000;
const WINDOW_MS = 60_000;
const SVG = "http://www.w3.org/2000/svg";
const NAMES = ["Throughput", "p50", "p95", "Queue", "Running"];

export class Live {
	#figures = Object.fromEntries(NAMES.map((name) => [name, element("dd", "–")]));
	#line = document.createElementNS(SVG, "polyline");
	#note = element("p.muted.small");
	#snapshots = [];
	#onRestart;

	/** `onRestart` is called when a worker was restarted between two snapshots. */
	constructor(root, onRestart) {
		this.#onRestart = onRestart;
		const chart = document.createElementNS(SVG, "svg");
		chart.setAttribute("viewBox", "0 0 120 28");
		chart.setAttribute("preserveAspectRatio", "none");
		chart.setAttribute("class", "spark");
		chart.setAttribute("aria-hidden", "true");
		chart.append(this.#line);
		const rows = NAMES.map((name) => element("div", element("dt", name), this.#figures[name]));
		root.replaceChildren(chart, element("dl.figures", ...rows), this.#note);
	}

	async watch() {
		for (;;) {
			if (!document.hidden) await this.refresh();
			await new Promise((resolve) => setTimeout(resolve, INTERVAL_MS));
		}
	}

	async refresh() {
		let text;
		try {
			text = await getText("metrics");
		} catch (error) {
			this.#note.textContent =
				error.status === 401 ? "Figures need the API key." : "No figures: the service does not answer.";
			return;
		}
		this.#add(readSnapshot(text, performance.now()));
		this.#draw();
	}

	#add(snapshot) {
		const previous = this.#snapshots.at(-1);
		if (previous && snapshot.requests < previous.requests)
			this.#snapshots = []; // the service was restarted: its counters begin at 0
		else if (previous && snapshot.restarts > previous.restarts) this.#onRestart();
		this.#snapshots.push(snapshot);
		const recent = this.#snapshots.findIndex(({ at }) => snapshot.at - at <= WINDOW_MS);
		this.#snapshots.splice(0, Math.max(0, recent - 1));
	}

	#draw() {
		const [oldest, newest] = [this.#snapshots[0], this.#snapshots.at(-1)];
		this.#figures.Queue.textContent = String(newest.waiting);
		this.#figures.Running.textContent = String(newest.running);
		if (oldest === newest) return;
		const { requests, quantile } = compareSnapshots(oldest, newest);
		const seconds = (newest.at - oldest.at) / 1000;
		this.#figures.Throughput.textContent = `${formatNumber(requests / seconds)} /s`;
		this.#figures.p50.textContent = formatMilliseconds(quantile(0.5));
		this.#figures.p95.textContent = formatMilliseconds(quantile(0.95));
		this.#note.textContent = requests ? "" : "No requests in the last minute.";
		this.#line.setAttribute("points", chartPoints(this.#snapshots));
	}
}

function formatMilliseconds(duration) {
	if (duration === null) return "–";
	return `${duration.isLowerBound ? "over " : ""}${formatNumber(1000 * duration.seconds)} ms`;
}

/** The points of the chart: requests per second between neighbouring snapshots. */
function chartPoints(snapshots) {
	const rates = snapshots.slice(1).map(({ at, requests }, index) => ({
		at,
		rate: (1000 * (requests - snapshots[index].requests)) / (at - snapshots[index].at),
	}));
	const highest = Math.max(...rates.map(({ rate }) => rate), 1);
	const [start, end] = [rates[0].at, rates.at(-1).at];
	return rates
		.map(({ at, rate }) => [(120 * (at - start)) / (end - start || 1), 26 - (24 * rate) / highest])
		.map((point) => point.map((value) => value.toFixed(1)).join(","))
		.join(" ");
}
