// What the API reference has with JavaScript: search, copy buttons, the address, forms to try routes.
import { fetchWithKey, getJson, loadKey, setKey } from "./api.js";
import { copyFor } from "./clipboard.js";
import { byId, countOf, element } from "./dom.js";

const reference = byId("reference");
const parts = [...reference.querySelectorAll(".part")];
const base = new URL("./", location.href).href;
let isOpenedBySearch = false;

for (const address of reference.querySelectorAll(".address")) address.textContent = base.slice(0, -1);
for (const block of reference.querySelectorAll("pre")) addCopyButton(block);
for (const content of reference.querySelectorAll("[data-method]"))
	content.querySelector(".copied").after(makeTrial(content));
byId("tools").append(makeSearch(), makeKeyField());
addEventListener("hashchange", openLinked);
openLinked();
nameServedModel();

/** Opens the part that the address names: older browsers do not open it themselves. */
function openLinked() {
	const target = byId(decodeURIComponent(location.hash.slice(1)));
	const part = target?.closest(".part");
	if (!part) return;
	part.open = true;
	part.scrollIntoView();
	part.querySelector("summary").focus({ preventScroll: true });
}

function addCopyButton(block) {
	const text = () => block.textContent;
	const button = element("button", { type: "button", className: "quiet" }, "Copy");
	button.addEventListener("click", () => copyFor(button, text()));
	const box = element("div.copied");
	block.replaceWith(box);
	box.append(block, button);
}

function makeSearch() {
	const field = element("input", { id: "search", type: "search", autocomplete: "off" });
	const outcome = element("p.muted.small", { role: "status" });
	const toggle = element("button", { type: "button", className: "quiet" }, "Open all");
	field.addEventListener("input", () => (outcome.textContent = search(field.value)));
	toggle.addEventListener("click", () => {
		const isOpening = parts.some((part) => !part.open);
		for (const part of parts) part.open = isOpening;
		toggle.textContent = isOpening ? "Close all" : "Open all";
	});
	return element(
		"div.field",
		{ role: "search" },
		element("label", { htmlFor: "search" }, "Search this page"),
		field,
		outcome,
		toggle,
	);
}

/** Shows the parts and the fields that have all words; says how many there are. */
function search(text) {
	const words = text.toLowerCase().split(/\s+/).filter(Boolean);
	const matches = (node) => words.every((word) => node.textContent.toLowerCase().includes(word));
	let fields = 0;
	for (const part of parts) {
		const rows = [...part.querySelectorAll(".fields > div")];
		const matching = rows.filter(matches);
		const isTitle = matches(part.querySelector("summary"));
		part.hidden = words.length > 0 && !isTitle && !matches(part);
		for (const row of rows)
			row.hidden = words.length > 0 && matching.length > 0 && !isTitle && !matching.includes(row);
		if (words.length && !part.hidden) fields += matching.length;
		if (words.length || isOpenedBySearch) part.open = words.length > 0 && !part.hidden;
		linkTo(part).hidden = part.hidden;
	}
	isOpenedBySearch = words.length > 0;
	if (!words.length) return "";
	const shown = parts.filter((part) => !part.hidden).length;
	return `${countOf(shown, "part", "parts")}, ${countOf(fields, "field", "fields")}`;
}

function linkTo(part) {
	const { id } = part.querySelector(".content");
	return document.querySelector(`.contents a[href="#${CSS.escape(id)}"]`).parentElement;
}

function makeKeyField() {
	const field = element("input", { id: "key", type: "password", autocomplete: "off" });
	field.value = loadKey();
	field.addEventListener("input", () => setKey(field.value));
	return element(
		"form.field",
		{ onsubmit: (event) => event.preventDefault() },
		element("label", { htmlFor: "key" }, "API key"),
		field,
		element("p.help", "For \u201cTry it\u201d, if the service has keys. Kept in this tab only."),
	);
}

/** Makes the form that sends a request to a route, and shows the answer. */
function makeTrial({ id, dataset: { method, path, body } }) {
	const names = [...path.matchAll(/{(\w+)}/g)].map(([, name]) => name);
	const fields = names.map((name) => element("input", { id: `${id}-${name}`, type: "text" }));
	const area = element("textarea", { id: `${id}-body`, rows: 6, spellcheck: false });
	if (body) area.value = JSON.stringify(JSON.parse(body), null, 2);
	const outcome = element("p.outcome", { role: "status" });
	const output = element("pre", { hidden: true, tabIndex: 0, "aria-label": "Answer" });
	let running = null;
	const send = async () => {
		running?.abort();
		const { signal } = (running = new AbortController());
		const filled = names.reduce(
			(filled, name, index) => filled.replace(`{${name}}`, encodeURIComponent(fields[index].value)),
			path,
		);
		outcome.textContent = "Asking \u2026";
		output.hidden = true;
		try {
			outcome.textContent = await request(method, filled, body && area.value, output, signal);
		} catch (error) {
			if (!signal.aborted) outcome.textContent = error.message;
		}
	};
	return element(
		"details.more.try",
		element("summary", "Try it"),
		element(
			"form",
			{ onsubmit: (event) => (event.preventDefault(), send()) },
			...names.map((name, index) =>
				element("div.field", element("label", { htmlFor: `${id}-${name}` }, name), fields[index]),
			),
			...(body ? [element("div.field", element("label", { htmlFor: area.id }, "Body"), area)] : []),
			element("button.primary", `Send ${method}`),
		),
		outcome,
		output,
	);
}

/** Sends a request, shows the answer as it comes, and says how it ended. */
async function request(method, path, body, output, signal) {
	const startedAt = performance.now();
	const options = { method, signal, body: body || undefined };
	if (body) options.headers = { "Content-Type": "application/json" };
	const response = await fetchWithKey(path.slice(1), options);
	output.textContent = "";
	output.hidden = false;
	const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
	for (let part = await reader.read(); !part.done; part = await reader.read()) output.append(part.value);
	const milliseconds = Math.round(performance.now() - startedAt);
	if (response.headers.get("content-type")?.includes("application/json"))
		output.textContent = JSON.stringify(JSON.parse(output.textContent), null, 2);
	return `${response.status} ${response.statusText} after ${milliseconds} ms`;
}

/** Puts a model that is served into examples with a model that is not. */
async function nameServedModel() {
	const { data } = await getJson("v1/models").catch(() => ({ data: [] }));
	const served = data.map(({ id }) => id);
	if (!served.length) return;
	for (const content of reference.querySelectorAll("[data-body]")) {
		const { model } = JSON.parse(content.dataset.body);
		if (!model || served.includes(model)) continue;
		const rename = (text) => text.replace(JSON.stringify(model), JSON.stringify(served[0]));
		const area = content.querySelector(".try textarea");
		area.value = rename(area.value);
		const example = content.querySelector("pre").lastChild;
		example.data = rename(example.data);
	}
}
