// The panel of parameters, made from the API's description of the request.
import { element, makeChoice } from "./dom.js";
import { makeField } from "./fields.js";
import { ModelChoice } from "./models.js";
import { NOT_SETTINGS, Parameters } from "./parameters.js";
import { fieldTitle, valueName } from "./words.js";

const PROMINENT = ["n", "strategy"];

/**
 * A panel of settings, in two parts: `taskRoot` chooses model and task, `root` has the fields.
 *
 * `root` dispatches "change" when a setting changes, in either part.
 */
export class Settings {
	#schema;
	#parameters;
	#fields = new Map();
	#tasks = element("div.choices");
	#strategyNote = element("p.means.muted");
	#summary = element("span.muted");
	#details;
	#choice;

	/**
	 * `schema` has the properties of the request's body, `name` tells two panels apart; `assumed`
	 * has values that the caller sends for what is not set here.
	 */
	constructor(schema, name, assumed = {}) {
		this.#schema = schema;
		this.#parameters = new Parameters(schema);
		this.name = name;
		this.assumed = assumed;
		this.#choice = new ModelChoice(`${name}-model`, () => this.#showModel());
		for (const field of Object.keys(schema)) {
			if (NOT_SETTINGS.has(field) || field === "task") continue;
			this.#fields.set(field, makeField(field, schema[field], `${name}-${field}`));
		}
		this.#details = element(
			"details.more",
			element("summary", "All parameters", this.#summary),
			element("div.sets", ...this.#makeFieldsets()),
			element(
				"div.buttons",
				element("button.quiet", { type: "button", onclick: () => this.set({}) }, "Reset"),
			),
		);
		const task = element(
			"fieldset.task",
			{ hidden: true },
			element("legend", ...fieldTitle("task")),
			this.#tasks,
		);
		this.taskRoot = element("div.first", this.#choice.root, task);
		this.root = element(
			"div.settings",
			element("div.first", ...PROMINENT.map((name) => this.#row(name))),
			this.#strategyNote,
			this.#details,
		);
		for (const part of [this.taskRoot, this.root]) part.addEventListener("input", () => this.#update());
		this.#update();
	}

	/** Offers the models; with one there is no choice. */
	describe(models) {
		this.#choice.offer(models);
		this.#showModel();
	}

	/** The description of the model that is chosen. */
	get model() {
		return this.#choice.model;
	}

	/** Offers the model's tasks, and shows its defaults as placeholders. */
	#showModel() {
		const { model } = this;
		const selected = this.task;
		const tasks = Object.keys(model.tasks);
		this.#tasks.replaceChildren(
			...tasks.map((value, index) => {
				const checked = tasks.includes(selected) ? value === selected : index === 0;
				return makeChoice({ name: `${this.name}-task`, value, checked });
			}),
		);
		this.#tasks.parentElement.hidden = !tasks.length;
		for (const [field, { input, isNumber }] of this.#fields) {
			const placeholder = this.assumed[field] ?? model.generation[field] ?? this.#schema[field].default;
			if (isNumber) input.placeholder = placeholder ?? "default";
		}
		this.#fields.get("max_tokens").input.max = model.max_tokens;
		this.#update();
	}

	get task() {
		return this.#tasks.querySelector(":checked")?.value;
	}

	/** Returns the settings that differ from the defaults, as properties of the request. */
	values() {
		const values = {};
		const all = this.#readAll();
		for (const [field, value] of Object.entries(all)) {
			if (value === undefined || !this.#parameters.isApplicable(field, all)) continue;
			if (!isDefault(value, this.#schema[field].default)) values[field] = value;
		}
		const [defaultTask] = Object.keys(this.model.tasks);
		if (this.task && this.task !== defaultTask) values.task = this.task;
		return { ...this.#choice.values(), ...values };
	}

	/** Sets what `values` returned; other settings become the default. */
	set(values) {
		this.#choice.set(values.model);
		this.#showModel();
		for (const [name, field] of this.#fields) field.write(values[name] ?? this.#schema[name].default);
		const [defaultTask] = Object.keys(this.model.tasks);
		const task = values.task in this.model.tasks ? values.task : defaultTask;
		for (const radio of this.#tasks.querySelectorAll("input")) radio.checked = radio.value === task;
		this.#update();
	}

	/** Shows the first field with invalid content; returns whether there is one. */
	reportInvalid() {
		for (const { input, row } of this.#fields.values()) {
			if (row.hidden || input.disabled || !input.checkValidity || input.checkValidity()) continue;
			this.#reveal(input);
			input.reportValidity();
			return true;
		}
		return false;
	}

	/** Marks a field as invalid, with the service's message. */
	markInvalid(name, message) {
		const field = this.#fields.get(name);
		if (!field) return;
		field.row.classList.add("wrong");
		field.input.setAttribute("aria-invalid", "true");
		field.help.textContent = message;
		this.#reveal(field.input);
	}

	#reveal(input) {
		if (this.#details.contains(input)) this.#details.open = true;
		input.focus();
	}

	#row(name) {
		return this.#fields.get(name).row;
	}

	/** Groups the fields; those that are new here come last. */
	#makeFieldsets() {
		const fieldsets = this.#parameters.fieldsets();
		const placed = new Set([...PROMINENT, ...fieldsets.flatMap(({ names }) => names)]);
		const unplaced = [...this.#fields.keys()].filter((field) => !placed.has(field));
		return [...fieldsets, { title: "Other", names: unplaced }].map(({ title, names }) => {
			const rows = names.filter((name) => this.#fields.has(name)).map((name) => this.#row(name));
			return element("fieldset", { hidden: !rows.length }, element("legend", title), ...rows);
		});
	}

	#readAll() {
		const all = {};
		for (const [name, field] of this.#fields) all[name] = field.read();
		return all;
	}

	#update() {
		const all = this.#readAll();
		for (const [name, field] of this.#fields) {
			const isApplicable = this.#parameters.isApplicable(name, all);
			field.row.classList.remove("wrong");
			field.input.removeAttribute("aria-invalid");
			field.describe();
			if (name === "n") field.input.disabled = !isApplicable;
			else field.row.hidden = !isApplicable;
		}
		for (const set of this.#details.querySelectorAll("fieldset")) {
			set.hidden = [...set.querySelectorAll(".field")].every((row) => row.hidden);
		}
		const strategy = all.strategy === "auto" ? this.#parameters.resolveStrategy(all) : null;
		this.#strategyNote.textContent = strategy
			? `With these parameters "automatic" means ${valueName(strategy)} (${strategy}).`
			: "";
		this.#summary.textContent = this.#summarise(all);
		this.root.dispatchEvent(new Event("change"));
	}

	/** Lists what the closed panel of parameters hides: "· num_beams 4". */
	#summarise(all) {
		const hidden = Object.keys(this.values()).filter(
			(name) => ![...PROMINENT, "task", "model"].includes(name),
		);
		const text = (value) => (value.length === 0 ? "none" : value);
		return hidden.map((name) => ` \u00b7 ${name} ${text(all[name])}`).join("");
	}
}

function isDefault(value, defaultValue) {
	if (Array.isArray(value)) return value.length === 0 && defaultValue !== null;
	return value === defaultValue;
}
