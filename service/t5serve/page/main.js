// The page: sends the query to what the view shows, and adds the answers to the history.
import { credentials, getJson, hasKey, onKeyNeeded, setKey } from "./api.js";
import { readAddress, writeAddress } from "./address.js";
import { copyFor } from "./clipboard.js";
import { byId, element } from "./dom.js";
import { History } from "./history.js";
import { askForKey } from "./key.js";
import { Live } from "./live.js";
import { showNotice, showState } from "./notices.js";
import { NOT_SETTINGS } from "./parameters.js";
import { QueryBox } from "./query.js";
import { Settings } from "./settings.js";
import { Side } from "./side.js";
import { ServiceStatus } from "./status.js";
import { Views } from "./views.js";

const EXAMPLES = [
	"how do i clean a laptop screen",
	"whats the best way too remove a wine stain",
	"cheap flights london new york 2026",
	"who lived longer, nikola tesla or milutin milankovic",
];
const COMBINED = 3; // reformulations that docs/search.md adds to a query
/** Load the modules of the other views, when these are shown first. */
const LOADERS = {
	find: async () => new (await import("./find.js")).Find(panels.find, status, askFor),
	many: async () => new (await import("./many.js")).Many(panels.many, status),
};

const status = new ServiceStatus();
const query = new QueryBox(() => ask());
const views = new Views(changeView);
let schema = {}; // of the request's properties
let sides = [];
let panels = {}; // the settings of each view
const loaded = {}; // promises of the other views, by name
let models = null; // as /v1/models describes them
let running = null; // aborts the current question
let asked = readAddress(schema).query; // what the address has
let isAddressRead = false;

const prepared = prepare();

async function prepare() {
	onKeyNeeded(async (wasRefused) => {
		byId("key").hidden = false;
		const key = await askForKey(wasRefused);
		status.isLocked = !key;
		showState(status, models);
		return key;
	});
	views.show(readAddress(schema).view);
	query.set(asked);
	showExamples();
	wireButtons();
	status.addEventListener("change", () => showState(status, models));
	status.watch();
	const { components } = await untilAnswered(() => getJson("openapi.json"));
	schema = components.schemas.ReformulateRequest.properties;
	sides = ["A", "B"].map(makeSide);
	byId("sides").append(...sides.map((side) => side.root));
	panels = {
		one: sides[0].settings,
		find: makePanel("find", { n: COMBINED }),
		many: makePanel("many"),
	};
	for (const panel of Object.values(panels)) panel.root.addEventListener("change", keepAddress);
	wireCompare();
	loadView();
	watchService();
}

async function watchService() {
	const history = new History(byId("history"), restore);
	const live = new Live(byId("live"), () =>
		showNotice("A process of the model ended, and was started anew."),
	);
	live.watch();
	byId("ask").addEventListener("answered", ({ detail }) => {
		history.add(detail);
		live.refresh();
	});
	const describeModels = async () => describe(await untilAnswered(() => getJson("v1/models")));
	status.addEventListener("models", describeModels); // after a reload, or when one was loaded
	await describeModels();
	if (query.text === asked) applyAddress();
	isAddressRead = true; // if something was typed meanwhile, that counts
	addEventListener("popstate", applyAddress);
}

/** Makes the settings of a view, in its places for them. */
function makePanel(view, assumed) {
	const panel = new Settings(schema, view, assumed);
	byId(`${view}-task`).append(panel.taskRoot);
	byId(`${view}-settings`).append(panel.root);
	return panel;
}

function makeSide(name) {
	return new Side(schema, name, status, { getQuery: () => query.text, retry: ask });
}

/** Repeats a request until it succeeds: waits for the service, or for a key. */
async function untilAnswered(request) {
	for (;;) {
		try {
			return await request();
		} catch (error) {
			if (error.status !== 401) await status.whenReady();
			else await new Promise((resolve) => credentials.addEventListener("change", resolve, { once: true }));
		}
	}
}

function describe({ data }) {
	models = data;
	status.isLocked = false;
	byId("key").hidden = !hasKey();
	for (const panel of [sides[1].settings, ...Object.values(panels)]) panel.describe(models);
	showState(status, models);
}

function wireButtons() {
	byId("stop").addEventListener("click", () => running?.abort());
	byId("key").addEventListener("click", enterKey);
	byId("query").addEventListener("input", () => sides.forEach((side) => side.code.update()));
	document.addEventListener("click", ({ target }) => {
		if (target.dataset?.copies !== undefined) copyFor(target, target.dataset.copies);
		if (target.dataset?.action === "key") enterKey();
	});
}

async function enterKey() {
	const key = await askForKey(false);
	if (key) setKey(key);
}

/** Asks what the view shows: both sides one after the other, so that their times are comparable. */
async function ask() {
	const { text } = query;
	await prepared; // a question that is asked before the page is ready waits for it
	if (!text) return query.focus();
	const isFind = views.current === "find";
	const answering = isFind ? [await loadView()] : sides.filter((side) => !side.root.hidden);
	const settings = isFind ? [panels.find] : answering.map((side) => side.settings);
	if (settings.some((panel) => panel.reportInvalid())) return;
	asked = text;
	keepAddress();
	running?.abort();
	const controller = (running = new AbortController());
	byId("stop").hidden = false;
	const answers = [];
	for (const one of answering) {
		if (controller.signal.aborted) break;
		answers.push(await one.ask(text, controller.signal));
	}
	if (answers.some(Boolean)) announce(text, settings, answers);
	if (running === controller) byId("stop").hidden = true;
}

function askFor(text) {
	query.set(text);
	ask();
}

function announce(text, settings, answers) {
	const detail = {
		query: text,
		sides: settings.map((panel) => panel.values()),
		texts: answers.map((answer) => answer?.texts[0] ?? ""),
	};
	byId("ask").dispatchEvent(new CustomEvent("answered", { detail }));
}

/** Shows an entry of the history as it was asked. */
function restore(entry) {
	views.show("one");
	byId("compare").checked = entry.sides.length > 1;
	showSides();
	entry.sides.forEach((values, index) => sides[index]?.settings.set(values));
	askFor(entry.query);
}

/** Another view goes on with the settings of the one before it. */
function changeView(view, before) {
	if (!panels[view]) return;
	loadView();
	panels[view].set(panels[before].values());
	keepAddress();
}

function loadView() {
	return (loaded[views.current] ??= LOADERS[views.current]?.());
}

function keepAddress() {
	if (!isAddressRead) return;
	writeAddress({ query: asked, view: views.current, values: panels[views.current].values() });
}

/** Shows what the address says, and asks its query. */
function applyAddress() {
	isAddressRead = false; // what changes now is not written
	const address = readAddress(schema);
	for (const name of NOT_SETTINGS) if (name !== "model") delete address.values[name];
	asked = address.query;
	views.show(address.view);
	panels[views.current].set(address.values);
	isAddressRead = true;
	if (asked) askFor(asked);
}

function showExamples() {
	byId("examples").append(
		...EXAMPLES.map((text) =>
			element("button.example", { type: "button", onclick: () => askFor(text) }, text),
		),
	);
}

function wireCompare() {
	byId("compare").addEventListener("change", showSides);
	showSides();
}

function showSides() {
	const comparing = byId("compare").checked;
	byId("sides").classList.toggle("two", comparing);
	sides[1].root.hidden = !comparing;
}
