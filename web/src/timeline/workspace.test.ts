import { describe, expect, it } from "vitest";
import { fileCall } from "./workspace";

describe("fileCall", () => {
  it("says what a call does in words", () => {
    expect(fileCall("Read", { path: "../evidence/c1.txt", offset: 20 })).toEqual({ line: "read ../evidence/c1.txt, offset 20", whole: "read ../evidence/c1.txt, offset 20" });
    expect(fileCall("Grep", { pattern: "a b", ignore_case: true })?.line).toBe('search "a b" in work/, ignore case true');
    expect(fileCall("Glob", { pattern: "**/*.md", path: "../skills" })?.line).toBe('list "**/*.md" below ../skills');
  });

  it("shows a change line by line", () => {
    expect(fileCall("Write", { path: "notes", content: "a\n- b\n" })).toEqual({ line: "write notes", whole: "write notes, as a whole\n+ a\n+ - b" });
    expect(fileCall("Write", { path: "notes", content: "" })?.whole).toBe("write notes, as a whole\n(nothing)");
    expect(fileCall("Edit", { path: "notes", old_string: "a\nb", new_string: "c\n" })?.whole).toBe("edit notes\n- a\n- b\n\\ no line break at the end\n+ c");
  });

  it("leaves what it does not know to others", () => {
    expect(fileCall("ssh_execute", { command: "df" })).toBeUndefined();
    expect(fileCall("Write", { path: "x", content: "y", mode: "0777" })).toBeUndefined();
    expect(fileCall("Write", { path: 1, content: "y" })).toBeUndefined();
    expect(fileCall("Read", null)).toBeUndefined();
    expect(fileCall("toString", {})).toBeUndefined();
  });
});
