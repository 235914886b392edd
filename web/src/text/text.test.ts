import { describe, expect, it } from "vitest";
import { findExcerpt } from "./excerpt";
import { age, isTime, span } from "./time";
import { hasHidden, inert, inertLines, OutputText, pasteable, type Piece } from "./visible";

function outputLines(text: string): Piece[][] {
  const all = new OutputText(text);
  return Array.from({ length: all.length }, (_, n) => all.line(n));
}

describe("inert", () => {
  it.each([
    ["plain", "disk full", "disk full"],
    ["bidi override", "evil\u202Etxt.exe", "evil⟨U+202E⟩txt.exe"],
    ["bidi isolate", "a\u2066b\u2069", "a⟨U+2066⟩b⟨U+2069⟩"],
    ["escape", "\u001b]0;title\u0007", "␛]0;title␇"],
    ["zero width", "ro\u200bot", "ro⟨U+200B⟩ot"],
    ["tag characters", "a\u{e0041}b", "a⟨U+E0041⟩b"],
    ["newline on one line", "a\nb", "a b"],
    ["markup is text", "<img src=x onerror=alert(1)>", "<img src=x onerror=alert(1)>"],
    ["other scripts stay", "диск 磁盘 قرص 🔥", "диск 磁盘 قرص 🔥"],
  ])("%s", (_, given, wanted) => expect(inert(given)).toBe(wanted));

  it("keeps lines where there are lines", () => expect(inertLines("a\r\nb\tc\rd")).toBe("a\nb\tc␍d"));
});

describe("commands for the clipboard", () => {
  it("lose what cannot be seen, and the newline that would run them", () => {
    expect(pasteable("df -h\u202e /\u001b[8m x\n")).toBe("df -h /[8m x");
    expect(hasHidden("df -h\u200b")).toBe(true);
    expect(hasHidden("df -h /\n\tx")).toBe(false);
  });
});

describe("OutputText", () => {
  it("turns colours into classes and carries them over lines", () => {
    expect(outputLines("\u001b[1;31mbad\u001b[0m ok\n\u001b[32mgo\non\u001b[m.")).toEqual([
      [{ text: "bad", style: "sgr-bold sgr-31" }, { text: " ok" }],
      [{ text: "go", style: "sgr-32" }],
      [{ text: "on", style: "sgr-32" }, { text: "." }],
    ]);
  });
  it("shows every other escape instead of obeying it", () => {
    const [line] = outputLines("\u001b[2Jx\u001b]8;;http://evil\u0007y");
    expect(line?.filter((p) => p.control).map((p) => p.text)).toEqual(["␛", "␛", "␇"]);
    expect(line?.map((p) => p.text).join("")).toBe("␛[2Jx␛]8;;http://evil␇y");
  });
  it("reads extended colours without taking their numbers for codes", () => {
    expect(outputLines("\u001b[38;5;1mx\u001b[48;2;31;32;33my")).toEqual([[{ text: "x" }, { text: "y" }]]);
  });
  it("has no line for a final newline, and one for nothing", () => {
    expect(outputLines("a\nb\n")).toHaveLength(2);
    expect(outputLines("")).toHaveLength(1);
  });
  it("stays linear on hostile input", () => {
    const started = performance.now();
    outputLines("\u001b[".repeat(100_000));
    expect(performance.now() - started).toBeLessThan(2000);
  });
});

describe("a long output", () => {
  const lines = Array.from({ length: 100_000 }, (_, n) => (n % 1000 === 7 ? `\u001b[31mline ${n} Fails\u001b[0m` : `line ${n} \u001b[1mbold`));
  const text = lines.join("\n");
  it("is there at once, each line for itself, and colours carry over", () => {
    const started = performance.now();
    const all = new OutputText(text);
    expect(all.length).toBe(100_000);
    expect(all.line(0)).toEqual([{ text: "line 0 " }, { text: "bold", style: "sgr-bold" }]);
    expect(all.line(99_999)).toEqual([{ text: "line 99999 ", style: "sgr-bold" }, { text: "bold", style: "sgr-bold" }]);
    expect(all.line(7)[0]).toEqual({ text: "line 7 Fails", style: "sgr-bold sgr-31" });
    expect(all.line(8)[0]).toEqual({ text: "line 8 " });
    expect(all.line(100_000)).toEqual([]);
    expect(performance.now() - started).toBeLessThan(5000);
  });
  it("is searched whatever the case, and through colours", () => {
    const all = new OutputText("a \u001b[31mRed\u001b[0mdish\nb\nREDDISH");
    expect(all.find("reddish")).toEqual([0, 2]);
    expect(all.find("")).toEqual([]);
    expect(all.find("[31m")).toEqual([]);
    expect(new OutputText(text).find("fails")).toHaveLength(100);
  });
  it("says where a quote of it stands", () => {
    expect(findExcerpt(text, "line 50007 Fails")).toEqual({ from: 50_007, to: 50_007 });
    expect(findExcerpt("a.b\n a+b (c)", "b a+b (c)")).toEqual({ from: 0, to: 1 });
    expect(findExcerpt("axb", "a.b")).toBeNull();
  });
});

describe("findExcerpt", () => {
  const out = "Filesystem  Size Used\n/dev/sda1    50G  50G\n/dev/sdb1    10G   1G\n";
  it.each<[string, string | undefined, { from: number; to: number } | null]>([
    ["one line, folded", "/dev/sda1 50G", { from: 1, to: 1 }],
    ["inside a word", "sdb1", { from: 2, to: 2 }],
    ["over a line end", "50G 50G /dev/sdb1", { from: 1, to: 2 }],
    ["absent", "/dev/sdc1", null],
    ["nothing quoted", "", null],
    ["no excerpt", undefined, null],
  ])("%s", (_, excerpt, wanted) => expect(findExcerpt(out, excerpt)).toEqual(wanted));
});

describe("times", () => {
  it.each([
    [420, "420ms"],
    [1000, "1s"],
    [1234, "1.2s"],
    [59_000, "59s"],
    [252_000, "4m 12s"],
    [3_600_000, "1h"],
    [100_000_000, "1d 3h"],
  ])("span %d", (ms, wanted) => expect(span(ms)).toBe(wanted));
  it("age", () => {
    const now = Date.parse("2026-01-02T00:00:00Z");
    expect(age("2026-01-01T23:48:00Z", now)).toBe("12m");
    expect(age("2026-01-02T00:00:09Z", now)).toBe("now");
  });
  it("knows Go's zero time", () => {
    expect(isTime("0001-01-01T00:00:00Z")).toBe(false);
    expect(isTime(undefined)).toBe(false);
    expect(isTime("2026-01-01T00:00:00Z")).toBe(true);
  });
});
