/** Makes an element. Children that are strings become text, never markup. */
export function element(tag, properties = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name in made) made[name] = value;
    else made.setAttribute(name, value);
  }
  made.append(...children);
  return made;
}

export function byId(id) {
  return document.getElementById(id);
}

/** Waits; rejects when the signal aborts. */
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

const numbers = new Intl.NumberFormat("en", { maximumSignificantDigits: 3 });

/** 0.042, 1.23, 12.3, 123: as many digits as a measurement deserves. */
export function number(value) {
  if (value >= 1000) return Math.round(value).toLocaleString("en");
  return value !== 0 && Math.abs(value) < 0.01 ? "<0.01" : numbers.format(value);
}
