// The choice of a model, where the service has several.
import { element } from "./dom.js";
import { fieldTitle } from "./words.js";

const UNKNOWN = { id: "", tasks: {}, separators: {}, generation: {} };
const NOTES = { failed: " (failed)", loading: " (loading)", unloaded: " (loads on use)" };

/** A field with the names of the models; it is hidden while there is one model only. */
export class ModelChoice {
	#models = [UNKNOWN];
	#select;

	/** `onChoose` is called when the user chooses a model. */
	constructor(id, onChoose) {
		this.#select = element("select", { id, onchange: onChoose });
		this.root = element(
			"div.model",
			{ hidden: true },
			element("label", { htmlFor: id }, ...fieldTitle("model")),
			this.#select,
		);
	}

	/** Offers models as /v1/models describes them, the default first; the choice stays. */
	offer(models) {
		const chosen = this.#select.value;
		this.#models = models;
		this.#select.replaceChildren(
			...models.map(({ id, state }) =>
				element("option", { value: id, disabled: state === "failed" }, id + (NOTES[state] ?? "")),
			),
		);
		this.set(chosen);
		this.root.hidden = models.length < 2;
	}

	/** Chooses a model; without its name, or with that of a model that is gone, the default. */
	set(name) {
		this.#select.value = (this.#models.find(({ id }) => id === name) ?? this.#models[0]).id;
	}

	/** The model that is chosen. */
	get model() {
		return this.#models.find(({ id }) => id === this.#select.value) ?? this.#models[0];
	}

	/** Returns the model as a property of the request, unless it is the default. */
	values() {
		return this.model === this.#models[0] ? {} : { model: this.model.id };
	}
}
