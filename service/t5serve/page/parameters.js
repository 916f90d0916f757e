// The parameters that have an effect with a strategy, by the API's description. The service refuses
// the others, so the page does not offer them.

/** Properties of the request without a field of their own: the input, the transport, the model. */
export const NOT_SETTINGS = new Set(["query", "queries", "stream", "model"]);

/** The generation parameters of a request's schema. */
export class Parameters {
	#schema;

	/** `schema` has the properties of the request's body. */
	constructor(schema) {
		this.#schema = schema;
	}

	/** Groups all settings into fieldsets, {title, names}, in the order of the page. */
	fieldsets() {
		const names = Object.keys(this.#schema);
		const select = (filter) => names.filter((name) => this.#isParameter(name) && filter(name));
		const repetition = select((name) => this.#strategies(name).includes("greedy"));
		const sampling = select((name) => this.#isOnlyOf(name, "sample"));
		const beams = select((name) => !repetition.includes(name) && !sampling.includes(name));
		return [
			{ title: "Beams", names: beams },
			{ title: "Sampling", names: sampling },
			{ title: "Repetition", names: repetition },
			{ title: "Candidates", names: ["preserve", "min_difference", "include_original"] },
			{ title: "Request", names: ["max_tokens", "timeout_ms", "strict", "cache"] },
		];
	}

	/** Returns the strategy that "auto" selects for these values; null: the model's default. */
	resolveStrategy(values) {
		if (values.strategy !== "auto") return values.strategy;
		const changed = Object.keys(values).filter(
			(name) => this.#isParameter(name) && this.#isSet(name, values[name]),
		);
		if (changed.some((name) => this.#isOnlyOf(name, "sample"))) return "sample";
		if (changed.some((name) => this.#isOnlyOf(name, "diverse_beam"))) return "diverse_beam";
		if (changed.some((name) => !this.#strategies(name).includes("greedy"))) {
			return values.n > 1 ? "diverse_beam" : "beam";
		}
		return null;
	}

	/**
	 * Whether a parameter has an effect with these values.
	 *
	 * With "auto" parameters of diverse beams apply to beams too: setting them changes the strategy.
	 */
	isApplicable(name, values) {
		if (name === "n") return values.strategy !== "greedy";
		if (!this.#isParameter(name)) return true;
		const strategy = this.resolveStrategy(values);
		if (strategy === null) return true;
		const strategies = this.#strategies(name);
		return (
			strategies.includes(strategy) ||
			(values.strategy === "auto" && strategy === "beam" && strategies.includes("diverse_beam"))
		);
	}

	#isParameter(name) {
		return "x-strategies" in (this.#schema[name] ?? {});
	}

	#strategies(name) {
		return this.#schema[name]["x-strategies"];
	}

	#isOnlyOf(name, strategy) {
		return this.#strategies(name).every((other) => other === strategy);
	}

	/** Whether a value is not neutral. A parameter without neutral values (seed) is never set. */
	#isSet(name, value) {
		const neutral = this.#schema[name]["x-neutral"];
		return value !== undefined && neutral.length > 0 && !neutral.includes(value);
	}
}
