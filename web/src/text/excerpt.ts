/** Lines of an output, from 0, both ends included. */
export interface LineRange {
  from: number;
  to: number;
}

/**
 * Finds the lines that an excerpt quotes. White space is folded on both sides,
 * as it was when the citation was checked, so a quote may run over line ends.
 */
export function findExcerpt(output: string, excerpt: string | undefined): LineRange | null {
  const words = (excerpt ?? "").split(/\s+/).filter(Boolean);
  if (words.length === 0) return null;
  const hit = new RegExp(words.map((w) => w.replace(/[.*+?^${}()|[\]\\]/g, "\\$&")).join("\\s+")).exec(output);
  if (!hit) return null;
  const from = newlines(output, 0, hit.index);
  return { from, to: from + newlines(output, hit.index, hit.index + hit[0].length) };
}

function newlines(text: string, from: number, to: number): number {
  let n = 0;
  for (let at = text.indexOf("\n", from); at >= 0 && at < to; at = text.indexOf("\n", at + 1)) n++;
  return n;
}
