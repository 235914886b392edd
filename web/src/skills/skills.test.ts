import { describe, expect, it } from "vitest";
import { bodyOf, firstText, isChanged, main, noEdit, noRunbook, originOf, parts, pathsOf, readersOf, runbookBody, textOf, without, write, writer, wrongPath, wrongRunbook } from "./skills";

const files = [
  { path: "a.md", size: 1, text: "a" },
  { path: "logo.png", size: 9, binary: true },
  { path: main, size: 3, text: "one" },
];

describe("where a skill is from", () => {
  it("says what came with the program, what of it was changed, and what is one's own", () => {
    expect(originOf({ starter: true, author: "akmatori", comment: "came with the program" }).word).toBe("Starter");
    expect(originOf({ starter: true, author: "user:ann" }).word).toBe("Starter, edited");
    expect(originOf({ starter: false, author: "user:ann", comment: "imported" }).word).toBe("Imported");
    expect(originOf({ starter: false, author: "user:ann" }).word).toBe("Your own");
    expect([writer("akmatori"), writer("user:ann"), writer("token:ci")]).toEqual(["Akmatori", "ann", "ci"]);
  });
});

describe("which agents read a skill", () => {
  it("takes * as all, no list as none, and names as names", () => {
    const agents = [{ id: "a", skills: ["*"] }, { id: "b", skills: ["disk", "cpu"] }, { id: "c" }];
    expect(readersOf("disk", agents)).toEqual(["a", "b"]);
    expect(readersOf("dis", agents)).toEqual(["a"]);
    expect(readersOf("disk", agents.slice(0, 2))).toBe("all");
    expect(readersOf("disk", [])).toEqual([]);
  });
});

describe("the parts of a text", () => {
  it("are the frontmatter and the Markdown", () => {
    expect(parts("---\nname: x\n---\n# X\n---\nrest")).toEqual({ front: "name: x\n", body: "# X\n---\nrest" });
    expect(parts("---\r\nname: x\r\n---\r\nX")).toEqual({ front: "name: x\r\n", body: "X" });
    expect(parts("---\nname: x")).toEqual({ front: "", body: "---\nname: x" });
    expect(parts(firstText("x", 'a "b"\n c'))).toMatchObject({ front: 'name: x\ndescription: "a \\"b\\" c"\n' });
  });
});

describe("an edit of files", () => {
  it("has the main file first, and knows what is no change", () => {
    expect(pathsOf(files, noEdit)).toEqual([main, "a.md", "logo.png"]);
    let e = write(files, noEdit, "a.md", "b");
    expect([isChanged(e), textOf(files, e, "a.md"), textOf(files, e, main)]).toEqual([true, "b", "one"]);
    e = write(files, e, "a.md", "a");
    expect(isChanged(e)).toBe(false);
  });
  it("sends what is new, changed and removed, and nothing of what was only begun", () => {
    let e = write(files, noEdit, "new.sh", "echo");
    e = write(files, e, "begun.sh", "");
    e = without(files, e, "begun.sh");
    e = without(files, e, "a.md");
    expect(pathsOf(files, e)).toEqual([main, "logo.png", "new.sh"]);
    expect(bodyOf(3, e, " why ")).toEqual({ base: 3, files: [{ path: "new.sh", text: "echo" }], remove: ["a.md"], comment: "why" });
    expect(bodyOf(3, write(files, e, "a.md", "c"), "")).toEqual({ base: 3, files: [{ path: "new.sh", text: "echo" }, { path: "a.md", text: "c" }], remove: [] });
  });
  it("refuses paths that leave the skill or are taken", () => {
    for (const bad of ["/a", "a/", "../a", "a//b", "a\\b", "./a", main]) expect(wrongPath(bad, [main]), bad).not.toBe("");
    for (const good of ["", "a", "scripts/a.sh", "..a"]) expect(wrongPath(good, [main]), good).toBe("");
  });
});

describe("a runbook", () => {
  it("has a title, a text and few sets of labels", () => {
    expect(wrongRunbook(noRunbook)).not.toBe("");
    expect(wrongRunbook({ title: "x", text: " ", match: "" })).not.toBe("");
    expect(wrongRunbook({ title: "x", text: "y", match: "a=b\n".repeat(17) })).not.toBe("");
    expect(wrongRunbook({ title: "x", text: "y", match: "" })).toBe("");
    expect(runbookBody({ title: " x ", text: " y\n", match: " a=b \n\nc=d\n" })).toEqual({ title: "x", text: " y\n", match: ["a=b", "c=d"] });
  });
});
