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

/** Splits program output into lines of pieces: SGR becomes a class, all else that is not plain text becomes visible. */
export function outputLines(text: string): Piece[][] {
  const active = new Set<string>();
  const lines = text.replace(/\r\n/g, "\n").split("\n");
  if (lines.length > 1 && lines.at(-1) === "") lines.pop();
  return lines.map((line) => {
    const pieces: Piece[] = [];
    const push = (piece: Piece) => {
      if (active.size > 0) piece.style = [...active].join(" ");
      pieces.push(piece);
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
    return pieces;
  });
}
