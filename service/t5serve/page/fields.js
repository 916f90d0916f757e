// The fields of the panel of parameters: a control for each type of the API's description.
import { element, linesOf } from "./dom.js";
import { fieldTitle, valueName } from "./words.js";

/** Makes a property's field: {row, input, help, describe, read, write}. */
export function makeField(name, property, id) {
	const type = property.anyOf?.find((option) => option.type !== "null") ?? property;
	const [first, others] = splitDescription(property.description ?? "");
	const help = element("p", { id: `${id}-help`, className: "help" });
	const describe = () => help.replaceChildren(...markCode(first));
	const control = makeControl(type, property.default, id, help.id);
	const row = makeRow(type, control, fieldTitle(name), id);
	row.append(help, ...(others ? [makeMore(others, name)] : []));
	row.dataset.name = name;
	describe();
	return { ...control, row, help, describe };
}

function makeRow(type, { input }, title, id) {
	if (type.type === "boolean") {
		const label = element("label", input, element("span", ...title));
		return element("div.field.check", label);
	}
	if (type.type === "array" && type.items.enum) {
		const label = element("span", { id: `${id}-label`, className: "label" }, ...title);
		const group = { className: "field", role: "group", "aria-labelledby": label.id };
		return element("div", group, label, input);
	}
	const label = element("label", { htmlFor: id }, ...title);
	return element("div.field", label, input);
}

/** Splits off the first sentence, which is always shown. */
function splitDescription(description) {
	const [, first, others] = /^(.*?\.)\s+(.*)$/s.exec(description) ?? [null, description, ""];
	return [first, others];
}

function makeMore(text, name) {
	const summary = element("summary", { "aria-label": `More about ${name}` }, "More");
	return element("details.rest", summary, element("p", ...markCode(text)));
}

/** Makes what stands between backticks code. */
function markCode(text) {
	return text.split(/`([^`]+)`/).map((part, index) => (index % 2 ? element("code", part) : part));
}

function makeControl(type, defaultValue, id, describedBy) {
	if (type.enum) {
		const input = element(
			"select",
			{ id, "aria-describedby": describedBy },
			...type.enum.map((value) => element("option", { value }, optionName(value))),
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
	if (type.type === "array" && !type.items.enum) return makeLines(id, describedBy);
	if (type.type === "array") return makeBoxes(type.items.enum, defaultValue === null);
	return makeNumber(type, defaultValue, id, describedBy);
}

/** Names an option in words, with its own name: "beam search (beam)". */
function optionName(value) {
	const words = valueName(value);
	return words === value ? value : `${words} (${value})`;
}

/** A box per value; where a default stands in for no choice, "none" chooses the empty list. */
function makeBoxes(values, hasNone) {
	const makeBox = (value) => element("input", { type: "checkbox", value });
	const boxes = values.map(makeBox);
	const none = makeBox("none");
	const labels = [...boxes, ...(hasNone ? [none] : [])].map((box) => {
		const name = box === none ? "none of these" : valueName(box.value);
		const code = element("code", box === none ? "[]" : box.value);
		return element("label.check", box, element("span", `${name} `, code));
	});
	return {
		input: element("div.boxes", ...labels),
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

/** A text field for several texts, one a line. */
function makeLines(id, describedBy) {
	const input = element("textarea", {
		id,
		rows: 2,
		placeholder: "one a line",
		spellcheck: false,
		"aria-describedby": describedBy,
	});
	return {
		input,
		read: () => linesOf(input),
		write: (values) => (input.value = (values ?? []).join("\n")),
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
