/**
 * Creates an element: `tag` can have classes ("p.muted.small"), properties can be left out.
 *
 * Children that are strings become text, never markup.
 */
export function element(tag, properties, ...children) {
	const [name, ...classes] = tag.split(".");
	const node = document.createElement(name);
	if (classes.length) node.className = classes.join(" ");
	const hasProperties = properties?.constructor === Object;
	for (const [name, value] of Object.entries(hasProperties ? properties : {})) {
		if (name in node) node[name] = value;
		else node.setAttribute(name, value);
	}
	if (!hasProperties && properties !== undefined) node.append(properties);
	node.append(...children);
	return node;
}

export function byId(id) {
	return document.getElementById(id);
}

/** Makes a choice of several: `properties` are those of its radio button. */
export function makeChoice(properties) {
	const radio = element("input", { type: "radio", ...properties });
	return element("label.choice", radio, element("span", properties.value));
}

/** The lines of a text field that are not blank. */
export function linesOf(area) {
	return area.value
		.split("\n")
		.map((line) => line.trim())
		.filter(Boolean);
}

/** Counts things in words. */
export function countOf(count, one, several) {
	return `${count.toLocaleString("en")} ${count === 1 ? one : several}`;
}

/** Resolves after a time; rejects when the signal aborts. */
export function pause(milliseconds, signal) {
	return new Promise((resolve, reject) => {
		const stop = () => {
			clearTimeout(timer);
			reject(signal.reason);
		};
		const timer = setTimeout(() => {
			signal?.removeEventListener("abort", stop);
			resolve();
		}, milliseconds);
		if (signal?.aborted) stop();
		signal?.addEventListener("abort", stop, { once: true });
	});
}

const threeDigits = new Intl.NumberFormat("en", { maximumSignificantDigits: 3 });

/** Formats a measurement with three significant digits: 0.042, 1.23, 12.3, 123. */
export function formatNumber(value) {
	if (value >= 1000) return Math.round(value).toLocaleString("en");
	return value !== 0 && Math.abs(value) < 0.01 ? "<0.01" : threeDigits.format(value);
}
