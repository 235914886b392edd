/**
 * Text from outside (alerts, hosts, models) may hold characters that reorder,
 * hide or recolour what is read: terminal escapes, control characters, bidi
 * overrides, zero-width marks. Here they become visible pieces; nothing is
 * dropped without a trace and nothing acts.
 */

export interface Piece {
  text: string;
  /** What a replaced character was, for its tooltip. */
  control?: string;
  /** Class names of an SGR colour, such as "sgr-31 sgr-bold". */
  style?: string;
}

const ESC = "\u001b";

// C0 and C1 controls, soft hyphen, Arabic letter mark, Mongolian separator,
// zero-width and direction marks, bidi embeddings, overrides and isolates,
// invisible operators, BOM, interlinear marks, and the tag block.
const suspicious =
  /[\u0000-\u001f\u007f-\u009f\u00ad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb]|[\u{e0000}-\u{e007f}]/gu;

const names: Record<number, string> = {
  0x1b: "escape",
  0x7f: "delete",
  0xad: "soft hyphen",
  0x200b: "zero-width space",
  0x200e: "left-to-right mark",
  0x200f: "right-to-left mark",
  0x202a: "left-to-right embedding",
  0x202b: "right-to-left embedding",
  0x202c: "pop directional formatting",
  0x202d: "left-to-right override",
  0x202e: "right-to-left override",
  0x2066: "left-to-right isolate",
  0x2067: "right-to-left isolate",
  0x2068: "first strong isolate",
  0x2069: "pop directional isolate",
  0xfeff: "byte order mark",
};

function glyph(char: string): string {
  const code = char.codePointAt(0) ?? 0;
  if (code < 0x20) return String.fromCodePoint(0x2400 + code);
  if (code === 0x7f) return "\u2421";
  return `⟨${hex(code)}⟩`;
}

function hex(code: number): string {
  return "U+" + code.toString(16).toUpperCase().padStart(4, "0");
}

function describe(char: string): string {
  const code = char.codePointAt(0) ?? 0;
  const name = names[code];
  return name ? `${hex(code)} ${name}` : `control character ${hex(code)}`;
}

/** One line of text in which every suspicious character is a visible stand-in. */
export function inert(text: string | undefined | null): string {
  return (text ?? "").replace(suspicious, (c) => (c === "\n" || c === "\t" ? " " : glyph(c)));
}

/** The same for text of several lines. */
export function inertLines(text: string | undefined | null): string {
  return (text ?? "").replace(/\r\n/g, "\n").replace(suspicious, (c) => (c === "\n" || c === "\t" ? c : glyph(c)));
}

/** What of a command may go on the clipboard: no control or hidden characters. A trailing newline would run it. */
export function pasteable(text: string): string {
  return text.replace(suspicious, (c) => (c === "\n" || c === "\t" ? c : "")).trimEnd();
}

/** Says whether text holds anything that a reader would not see. */
export function hasHidden(text: string): boolean {
  return text.replace(suspicious, (c) => (c === "\n" || c === "\t" ? c : "")) !== text;
}

// Select Graphic Rendition is the one escape sequence that only decorates.
const sgr = /^\u001b\[([0-9;]{0,32})m/;

function restyle(active: Set<string>, parameters: string): void {
  const codes = parameters.split(";").map(Number);
  for (let i = 0; i < codes.length; i++) {
    const code = codes[i] ?? 0;
    if (code === 0) active.clear();
    else if (code === 1) active.add("sgr-bold");
    else if (code === 22) active.delete("sgr-bold");
    else if (code === 38 || code === 48) i += codes[i + 1] === 5 ? 2 : 4; // extended colours: ignored
    else if ((code >= 30 && code <= 37) || (code >= 90 && code <= 97) || code === 39) {
      for (const name of active) if (/^sgr-\d/.test(name)) active.delete(name);
      if (code !== 39) active.add(`sgr-${code >= 90 ? code - 60 : code}`);
    }
  }
}

/**
 * Program output, line by line: SGR becomes a class, all else that is not plain
 * text becomes visible. Lines are read when they are asked for, so that an
 * output of 100,000 of them is there at once.
 */
export class OutputText {
  /** The lines as they are, escapes included. */
  readonly raw: string[];
  /** The styles that hold where a line begins, as far as they are known. */
  private readonly styles: string[] = [""];
  /** Those that hold behind the last of these lines. */
  private readonly active = new Set<string>();
  private readonly coloured: boolean;

  constructor(text: string) {
    this.raw = text.replace(/\r\n/g, "\n").split("\n");
    if (this.raw.length > 1 && this.raw.at(-1) === "") this.raw.pop();
    this.coloured = text.includes(ESC);
  }

  get length(): number {
    return this.raw.length;
  }

  /** The characters of the longest line, roughly: what it takes to show it. */
  get width(): number {
    return this.raw.reduce((most, line) => Math.max(most, line.length), 0);
  }

  line(n: number): Piece[] {
    return pieces(this.raw[n] ?? "", new Set(this.styleAt(n).split(" ").filter(Boolean)));
  }

  /** The numbers of the lines that contain some words, whatever their case and colour; none for none. */
  find(words: string): number[] {
    const wanted = words.toLowerCase();
    if (wanted === "") return [];
    const found: number[] = [];
    this.raw.forEach((line, n) => {
      const plain = line.includes(ESC) ? line.replace(everySGR, "") : line;
      if (plain.toLowerCase().includes(wanted)) found.push(n);
    });
    return found;
  }

  private styleAt(n: number): string {
    if (!this.coloured) return "";
    for (let at = this.styles.length; at <= n; at++) {
      const before = this.styles[at - 1] ?? "";
      const line = this.raw[at - 1] ?? "";
      if (!line.includes(ESC)) {
        this.styles.push(before);
        continue;
      }
      for (const hit of line.matchAll(everySGR)) restyle(this.active, hit[1] ?? "");
      this.styles.push([...this.active].join(" "));
    }
    return this.styles[n] ?? "";
  }
}

const everySGR = /\u001b\[([0-9;]{0,32})m/g;

/** The pieces of one line, which begins in the active styles. */
function pieces(line: string, active: Set<string>): Piece[] {
  const all: Piece[] = [];
  const push = (piece: Piece) => {
    if (active.size > 0) piece.style = [...active].join(" ");
    all.push(piece);
  };
  let from = 0;
  suspicious.lastIndex = 0;
  for (let hit = suspicious.exec(line); hit; hit = suspicious.exec(line)) {
    const char = hit[0];
    if (char === "\t") continue;
    if (hit.index > from) push({ text: line.slice(from, hit.index) });
    from = hit.index + char.length;
    const decoration = char === ESC ? sgr.exec(line.slice(hit.index, hit.index + 40)) : null;
    if (decoration) {
      restyle(active, decoration[1] ?? "");
      from = hit.index + decoration[0].length;
      suspicious.lastIndex = from;
      continue;
    }
    push({ text: glyph(char), control: describe(char) });
  }
  if (from < line.length) push({ text: line.slice(from) });
  return all;
}
