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
  const wanted = fold(excerpt ?? "");
  if (wanted === "") return null;
  const starts: number[] = []; // offset of each word in the folded text
  const lineOf: number[] = [];
  const words: string[] = [];
  let offset = 0;
  output.split("\n").forEach((line, n) => {
    for (const word of line.split(/\s+/)) {
      if (word === "") continue;
      words.push(word);
      starts.push(offset);
      lineOf.push(n);
      offset += word.length + 1;
    }
  });
  const at = words.join(" ").indexOf(wanted);
  if (at < 0) return null;
  const last = at + wanted.length - 1;
  let from = 0;
  let to = 0;
  for (let i = 0; i < starts.length; i++) {
    const start = starts[i] ?? 0;
    if (start <= at) from = lineOf[i] ?? 0;
    if (start <= last) to = lineOf[i] ?? 0;
    else break;
  }
  return { from, to };
}

function fold(text: string): string {
  return text.split(/\s+/).filter(Boolean).join(" ");
}
