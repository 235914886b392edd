import { describe, expect, it } from "vitest";
import { changeOf, changes, commandChoices, draftOf, inPath, inputOf, inputs, matchPath, type Param, readArguments, sample, type Server, textArguments } from "./draft";

const param = (name: string, more: Partial<Param> = {}): Param => ({ name, in: "query", type: "string", description: "d", ...more });

describe("a path and its parameters", () => {
  it("finds the names, each once, and none in the query", () => {
    expect(inPath("/a/{id}/b-{kind}/{id}?x={y}")).toEqual(["id", "kind"]);
    expect(inPath("/a/{}/{")).toEqual([]);
  });
  it("adds what the path asks for and takes away what nobody has described", () => {
    const path = (name: string, description = "") => param(name, { in: "path", required: true, description });
    expect(matchPath("/{b}", [param("q"), path("a"), path("c", "kept")])).toEqual([param("q"), path("c", "kept"), path("b")]);
  });
});

describe("what the api takes", () => {
  it("leaves out what is empty", () => {
    const d = draftOf();
    d.name = "find";
    d.http.description = " Finds. ";
    d.http.params = [param("q", { as: "", pattern: "", enum: [], required: false }), param("id", { in: "path" })];
    expect(inputOf(d)).toEqual({
      name: "find",
      enabled: true,
      mutates: false,
      http: { description: "Finds.", method: "GET", path: "/", params: [param("q"), param("id", { in: "path", required: true })] },
    });
  });
  it("keeps which argument is a command", () => {
    const http = { description: "d", method: "GET", path: "/", params: [param("c")] };
    const t = { name: "t", enabled: true, mutates: true, command: "c", http };
    expect(draftOf(t).command).toBe("c");
    expect(inputOf(draftOf(t)).command).toBe("c");
    expect(inputs({ tools: [t] } as unknown as Server)).toEqual([t]);
    expect(inputOf({ ...draftOf(t), command: "" })).not.toHaveProperty("command");
    expect(commandChoices(["c"]).map((o) => o.value)).toEqual(["", "-", "c"]);
  });
  it("finds the texts among the arguments of a schema, whatever that is", () => {
    expect(textArguments({ type: "object", properties: { a: { type: "string" }, b: { type: "number" }, c: { type: ["string", "null"] }, d: true } })).toEqual(["a"]);
    for (const odd of [null, undefined, 5, "x", [], { properties: [] }, { properties: null }]) expect(textArguments(odd)).toEqual([]);
  });
  it("knows that a POST may change something", () => {
    const d = draftOf();
    d.http.method = "POST";
    expect(inputOf(d).mutates).toBe(true);
  });
  it("keeps all of a server", () => {
    const http = { description: "d", method: "GET", path: "/" };
    const s = { id: "1", name: "n", kind: "http", url: "https://x", allow_http: false, allow_private: true, enabled: false, revision: 3, ca: "PEM", header: "X", credential: "c", offers: {}, created_at: "", updated_at: "", tools: [{ name: "t", enabled: false, mutates: false, http }] } satisfies Server;
    expect(changeOf(s, undefined)).toEqual({ revision: 3, url: "https://x", allow_http: false, allow_private: true, enabled: false, ca: "PEM", header: "X", credential: "c", tools: inputs(s) });
    expect(inputs(s)).toEqual([{ name: "t", enabled: false, mutates: false, http }]);
    expect(changeOf({ ...s, kind: "mcp" }, undefined)).not.toHaveProperty("tools");
  });
});

describe("arguments of a trial", () => {
  it("are an object", () => {
    expect(readArguments(' {"a": 1} ')).toEqual({ args: { a: 1 } });
    expect(readArguments("")).toEqual({ args: {} });
    for (const bad of ["[1]", "null", "{", "5"]) expect(readArguments(bad)).toHaveProperty("wrong");
  });
  it("begin with what is required", () => {
    expect(JSON.parse(sample([param("a", { required: true, type: "integer", min: 5 }), param("b"), param("c", { required: true, enum: ["x"] })]))).toEqual({ a: 5, c: "x" });
  });
});

describe("changes", () => {
  it("keeps what is common and shows the rest", () => {
    expect(changes("a\nb\nc", "a\nx\nc\nd")).toEqual([
      { kind: "same", text: "a" },
      { kind: "old", text: "b" },
      { kind: "new", text: "x" },
      { kind: "same", text: "c" },
      { kind: "new", text: "d" },
    ]);
    expect(changes("", "")).toEqual([{ kind: "same", text: "" }]);
  });
  it("gives up on what is too long to compare", () => {
    const long = Array.from({ length: 600 }, (_, i) => String(i)).join("\n");
    expect(changes(long, long)).toHaveLength(1200);
  });
});
