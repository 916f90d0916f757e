// Which words a reformulation has that its original has not, and the other way round.

const segmenter = new Intl.Segmenter(undefined, { granularity: "word" });

/** Words, and what stands between them, as {text, isWord}. */
export function segments(text) {
  return Array.from(segmenter.segment(text), (one) => ({
    text: one.segment,
    isWord: Boolean(one.isWordLike) || one.segment.trim() !== "",
  }));
}

/** The text of a reformulation in parts, {text, added}, and the runs of words that it lost. */
export function difference(original, text) {
  const before = segments(original)
    .filter((one) => one.isWord)
    .map((one) => one.text);
  const after = segments(text);
  const words = after.filter((one) => one.isWord).map((one) => one.text);
  const { keptBefore, keptAfter } = commonWords(before, words);
  let place = 0;
  const parts = after.map(({ text, isWord }) => ({
    text,
    added: isWord && !keptAfter.has(place++),
  }));
  return {
    parts: join(parts),
    removed: runs(before, keptBefore),
  };
}

/** The words that were not kept, neighbours together. */
function runs(words, kept) {
  const found = [];
  words.forEach((word, index) => {
    if (kept.has(index)) return;
    if (index > 0 && !kept.has(index - 1)) found.push(`${found.pop()} ${word}`);
    else found.push(word);
  });
  return found;
}

/** The places of a longest common subsequence in both lists. */
function commonWords(before, after) {
  const keptBefore = new Set();
  const keptAfter = new Set();
  const keep = (i, j) => {
    keptBefore.add(i);
    keptAfter.add(j);
  };
  let start = 0;
  let endBefore = before.length;
  let endAfter = after.length;
  while (start < endBefore && start < endAfter && before[start] === after[start]) {
    keep(start, start++);
  }
  while (endBefore > start && endAfter > start && before[endBefore - 1] === after[endAfter - 1]) {
    keep(--endBefore, --endAfter);
  }
  const width = endAfter - start + 1;
  const lengths = new Uint16Array((endBefore - start + 1) * width);
  const at = (i, j) => (i - start) * width + (j - start);
  for (let i = endBefore - 1; i >= start; i--) {
    for (let j = endAfter - 1; j >= start; j--) {
      lengths[at(i, j)] =
        before[i] === after[j]
          ? lengths[at(i + 1, j + 1)] + 1
          : Math.max(lengths[at(i + 1, j)], lengths[at(i, j + 1)]);
    }
  }
  let j = start;
  for (let i = start; i < endBefore && j < endAfter;) {
    if (before[i] === after[j]) keep(i++, j++);
    else if (lengths[at(i + 1, j)] >= lengths[at(i, j + 1)]) i++;
    else j++;
  }
  return { keptBefore, keptAfter };
}

/** Neighbours of one kind as one part; a space between two added words is added, too. */
function join(parts) {
  const joined = [];
  parts.forEach((part, index) => {
    const last = joined.at(-1);
    const bridges = part.text.trim() === "" && last?.added && parts[index + 1]?.added;
    const added = part.added || Boolean(bridges);
    if (last?.added === added) last.text += part.text;
    else joined.push({ text: part.text, added });
  });
  return joined;
}
