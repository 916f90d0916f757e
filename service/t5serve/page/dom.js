/** Creates an element. Children that are strings become text, never markup. */
export function element(tag, properties = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name in node) node[name] = value;
    else node.setAttribute(name, value);
  }
  node.append(...children);
  return node;
}

export function byId(id) {
  return document.getElementById(id);
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
