import { describe, expect, it } from "vitest";
import { keys, sheet } from "./keys";

const sources = import.meta.glob<string>("../**/*.{ts,tsx}", { query: "?raw", import: "default", eager: true });
const code = Object.entries(sources).filter(([file]) => !/\.test\.|hotkeys\.ts$/.test(file));

describe("the help sheet", () => {
  it("lists every key of the table, once in its place", () => {
    const lines = sheet.flatMap((s) => s.lines);
    for (const [where, of] of Object.entries(keys))
      for (const line of Object.entries(of)) expect(lines.filter(([key, does]) => key === line[0] && does === line[1]), `${where}: ${line[0]}`).not.toEqual([]);
    for (const { where, lines } of sheet) expect(new Set(lines.map(([key]) => key)).size, where).toBe(lines.length);
  });

  // The compiler sees that each answers all keys of its part of the table and no
  // other; this, that every part is answered and that nobody listens past it.
  it("lists nothing that no page answers", () => {
    const answered = code.flatMap(([, text]) => [...text.matchAll(/useHotkeys\(\s*"(\w+)"/g)].map((m) => m[1]));
    expect(answered.sort()).toEqual(Object.keys(keys).sort());
    const calls = code.flatMap(([, text]) => [...text.matchAll(/useHotkeys\(/g)]);
    expect(calls.length).toBe(answered.length);
  });

  it("knows of every key that is listened to", () => {
    const listening = code.filter(([, text]) => /addEventListener\("key/.test(text)).map(([file]) => file);
    expect(listening, "the palette for Ctrl-K, what drops down for Escape").toEqual(["./Drop.tsx", "./Palette.tsx"]);
  });
});
