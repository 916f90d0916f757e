// A browser may refuse storage, or have no room: then things last as long as the page.

/** A value under a key, as JSON; the fallback where there is none, or none that reads. */
export function load(storage, key, fallback) {
  try {
    return JSON.parse(window[storage].getItem(key)) ?? fallback;
  } catch {
    return fallback;
  }
}

/** Whether it could be kept; undefined removes it. */
export function save(storage, key, value) {
  try {
    if (value === undefined) window[storage].removeItem(key);
    else window[storage].setItem(key, JSON.stringify(value));
    return true;
  } catch {
    return false;
  }
}
