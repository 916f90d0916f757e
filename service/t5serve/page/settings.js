// The panel of parameters, made from the API's description of the request.
import { element } from "./dom.js";
import { ModelChoice } from "./models.js";
import { NOT_SETTINGS, Parameters } from "./parameters.js";

/** A panel of settings; its root dispatches "change" when a setting changes. */
export class Settings {
  #schema;
  #parameters;
  #fields = new Map();
  #tasks = element("div", { className: "choices" });
  #strategyNote = element("p", { className: "means muted" });
  #summary = element("span", { className: "muted" });
  #details;
  #choice;

  /** `schema` has the properties of the request's body, `name` tells two panels apart. */
  constructor(schema, name) {
    this.#schema = schema;
    this.#parameters = new Parameters(schema);
    this.name = name;
    this.#choice = new ModelChoice(`${name}-model`, () => this.#showModel());
    for (const field of Object.keys(schema)) {
      if (NOT_SETTINGS.has(field) || field === "task") continue;
      this.#fields.set(field, makeField(field, schema[field], `${name}-${field}`));
    }
    const prominent = ["n", "strategy"];
    const fieldsets = this.#parameters.fieldsets();
    const placed = new Set([...prominent, ...fieldsets.flatMap(({ names }) => names)]);
    const unplaced = [...this.#fields.keys()].filter((field) => !placed.has(field));
    const sets = [...fieldsets, { title: "Other", names: unplaced }];
    this.#details = element(
      "details",
      { className: "more" },
      element("summary", {}, "Parameters", this.#summary),
      element("div", { className: "sets" }, ...sets.map((set) => this.#fieldset(set))),
      element(
        "div",
        { className: "buttons" },
        element(
          "button",
          { type: "button", className: "quiet", onclick: () => this.set({}) },
          "Reset",
        ),
      ),
    );
    this.root = element(
      "div",
      { className: "settings" },
      element(
        "div",
        { className: "first" },
        this.#choice.root,
        element(
          "fieldset",
          { className: "task", hidden: true },
          element("legend", {}, "task"),
          this.#tasks,
        ),
        ...prominent.map((field) => this.#fields.get(field).row),
      ),
      this.#strategyNote,
      this.#details,
    );
    this.root.addEventListener("input", () => this.#update());
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
    this.#tasks.replaceChildren(
      ...Object.keys(model.tasks).map((task, index) =>
        element(
          "label",
          { className: "choice" },
          element("input", {
            type: "radio",
            name: `${this.name}-task`,
            value: task,
            checked: selected in model.tasks ? task === selected : index === 0,
          }),
          element("span", {}, task),
        ),
      ),
    );
    this.#tasks.parentElement.hidden = false;
    for (const [field, { input, isNumber }] of this.#fields) {
      if (isNumber)
        input.placeholder = model.generation[field] ?? this.#schema[field].default ?? "default";
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
    for (const [name, field] of this.#fields)
      field.write(values[name] ?? this.#schema[name].default);
    const [defaultTask] = Object.keys(this.model.tasks);
    for (const radio of this.#tasks.querySelectorAll("input")) {
      radio.checked = radio.value === (values.task ?? defaultTask);
    }
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

  #fieldset({ title, names }) {
    const rows = names
      .filter((name) => this.#fields.has(name))
      .map((name) => this.#fields.get(name).row);
    return element("fieldset", { hidden: !rows.length }, element("legend", {}, title), ...rows);
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
      field.help.textContent = field.description;
      if (name === "n") field.input.disabled = !isApplicable;
      else field.row.hidden = !isApplicable;
    }
    for (const set of this.#details.querySelectorAll("fieldset")) {
      set.hidden = [...set.querySelectorAll(".field")].every((row) => row.hidden);
    }
    const strategy = all.strategy === "auto" ? this.#parameters.resolveStrategy(all) : null;
    this.#strategyNote.textContent = strategy
      ? `With these parameters auto means ${strategy}.`
      : "";
    const changed = Object.keys(this.values()).filter(
      (name) => !["n", "strategy", "task", "model"].includes(name),
    );
    this.#summary.textContent = changed.map((name) => ` \u00b7 ${name} ${all[name].length === 0 ? "none" : all[name]}`).join("");
    this.root.dispatchEvent(new Event("change"));
  }
}

function isDefault(value, defaultValue) {
  if (Array.isArray(value)) return value.length === 0 && defaultValue !== null;
  return value === defaultValue;
}

/** Makes a property's field: {row, input, help, description, read, write}. */
function makeField(name, property, id) {
  const type = property.anyOf?.find((option) => option.type !== "null") ?? property;
  const description = property.description ?? "";
  const help = element("p", { id: `${id}-help`, className: "help" }, description);
  const control = makeControl(type, property.default, id, help.id);
  const row =
    type.type === "boolean"
      ? element(
          "div",
          { className: "field check" },
          element("label", {}, control.input, ` ${name}`),
          help,
        )
      : type.type === "array" && type.items.enum
        ? element(
            "div",
            { className: "field", role: "group", "aria-label": name },
            element("span", { className: "label" }, name),
            control.input,
            help,
          )
        : element(
            "div",
            { className: "field" },
            element("label", { htmlFor: id }, name),
            control.input,
            help,
          );
  row.dataset.name = name;
  return { ...control, row, help, description };
}

function makeControl(type, defaultValue, id, describedBy) {
  if (type.enum) {
    const input = element(
      "select",
      { id, "aria-describedby": describedBy },
      ...type.enum.map((value) => element("option", { value }, value)),
    );
    return { input, read: () => input.value, write: (value) => (input.value = value) };
  }
  if (type.type === "boolean") {
    const input = element("input", {
      id,
      type: "checkbox",
      checked: defaultValue,
      "aria-describedby": describedBy,
    });
    return { input, read: () => input.checked, write: (value) => (input.checked = value) };
  }
  if (type.type === "array" && !type.items.enum) return makeList(id, describedBy);
  if (type.type === "array") return makeBoxes(type.items.enum, defaultValue === null);
  return makeNumber(type, defaultValue, id, describedBy);
}

/** A box per value; where a default stands in for no choice, "none" chooses the empty list. */
function makeBoxes(values, hasNone) {
  const makeBox = (value) => element("input", { type: "checkbox", value });
  const boxes = values.map(makeBox);
  const none = makeBox("none");
  const labels = [...boxes, ...(hasNone ? [none] : [])].map((box) =>
    element("label", { className: "check" }, box, ` ${box.value}`),
  );
  return {
    input: element("div", { className: "boxes" }, ...labels),
    read: () => {
      const chosen = boxes.filter((box) => box.checked).map((box) => box.value);
      return chosen.length || none.checked || !hasNone ? chosen : undefined;
    },
    write: (chosen) => {
      boxes.forEach((box) => (box.checked = (chosen ?? []).includes(box.value)));
      none.checked = chosen?.length === 0;
    },
  };
}

/** A text field for several words or phrases, separated by commas. */
function makeList(id, describedBy) {
  const input = element("input", { id, type: "text", "aria-describedby": describedBy });
  const split = () => input.value.split(",").map((value) => value.trim());
  return {
    input,
    read: () => split().filter(Boolean),
    write: (values) => (input.value = (values ?? []).join(", ")),
  };
}

function makeNumber(type, defaultValue, id, describedBy) {
  const maximum = type.maximum ?? (type.exclusiveMaximum && type.exclusiveMaximum - 1);
  const input = element("input", {
    id,
    type: "number",
    inputMode: type.type === "integer" ? "numeric" : "decimal",
    min: type.minimum ?? type.exclusiveMinimum ?? "",
    max: maximum === undefined ? "" : Math.min(maximum, Number.MAX_SAFE_INTEGER),
    step: type.type === "integer" ? 1 : "any",
    value: defaultValue ?? "",
    "aria-describedby": describedBy,
  });
  return {
    input,
    isNumber: true,
    read: () => (input.value === "" ? (defaultValue ?? undefined) : input.valueAsNumber),
    write: (value) => (input.value = value ?? ""),
  };
}
