// The page's state in its address, so that it can be shared: ?q=QUERY&task=NAME&n=3&view=find.
// Other settings stand there under their names in the API.

/** Reads the address: {query, view, values}; `values` are properties of a request. */
export function readAddress(schema) {
	const parameters = new URLSearchParams(location.search);
	const values = {};
	for (const name of new Set(parameters.keys())) {
		const value = parse(schema[name], parameters.getAll(name));
		if (value !== undefined) values[name] = value;
	}
	return { query: parameters.get("q") ?? "", view: parameters.get("view") ?? "", values };
}

/** Writes the address; a new query is an entry of the browser's history. */
export function writeAddress({ query, view, values }) {
	const parameters = new URLSearchParams();
	if (query) parameters.set("q", query);
	for (const [name, value] of Object.entries(values)) {
		const texts = Array.isArray(value) && value.length === 0 ? [""] : [value].flat();
		for (const text of texts) parameters.append(name, text);
	}
	if (view !== "one") parameters.set("view", view);
	const search = parameters.size ? `?${parameters}` : location.pathname;
	const isSame = new URLSearchParams(location.search).toString() === parameters.toString();
	if (isSame) return;
	const before = new URLSearchParams(location.search).get("q") ?? "";
	const isNewQuery = before !== "" && before !== query;
	history[isNewQuery ? "pushState" : "replaceState"](null, "", search);
}

/** Parses the texts of a property; undefined: it does not exist, or has another type. */
function parse(property, texts) {
	if (!property) return undefined;
	const type = property.anyOf?.find((option) => option.type !== "null") ?? property;
	const [text] = texts;
	if (type.type === "array") return texts.filter(Boolean);
	if (type.type === "boolean") return text === "true" || (text === "false" ? false : undefined);
	if (type.enum) return type.enum.includes(text) ? text : undefined;
	if (type.type === "string") return text;
	const number = Number(text);
	return text.trim() && Number.isFinite(number) ? number : undefined;
}
