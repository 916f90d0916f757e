// A browser may refuse storage, or have no space left: values then last as long as the page.

/** Loads a JSON value; returns the fallback if there is none, or if it can't be parsed. */
export function load(storage, key, fallback) {
	try {
		return JSON.parse(window[storage].getItem(key)) ?? fallback;
	} catch {
		return fallback;
	}
}

/** Saves a value as JSON, undefined removes it; returns whether that worked. */
export function save(storage, key, value) {
	try {
		if (value === undefined) window[storage].removeItem(key);
		else window[storage].setItem(key, JSON.stringify(value));
		return true;
	} catch {
		return false;
	}
}
