import { describe, expect, it } from "vitest";
import described from "../../openapi.json?raw";
import { curl, example, fields, matches, operations, type Spec, typeName } from "./openapi";

const spec = JSON.parse(described) as Spec;
const all = operations(spec).flatMap(([, ops]) => ops);
const find = (id: string) => all.find((o) => o.id === id)!;

describe("the API's own description", () => {
  it("has every operation once, with a summary", () => {
    const count = Object.values(spec.paths).flatMap((p) => Object.keys(p)).length;
    expect(all).toHaveLength(count);
    expect(new Set(all.map((o) => o.id)).size).toBe(count);
    for (const o of all) expect(o.summary, o.id).not.toBe(o.id);
  });

  it("gives fields and an example for each", () => {
    for (const o of all) {
      for (const field of [...fields(spec, o.body), ...o.answers.flatMap((a) => fields(spec, a.schema))]) {
        expect(field.type, `${o.id} ${field.name}`).not.toBe("");
      }
      expect(() => JSON.stringify(example(spec, o.body)), o.id).not.toThrow();
      expect(curl(spec, o, "https://x"), o.id).not.toMatch(/[{}]\/|undefined/);
    }
  });

  it("shows what a call needs", () => {
    expect(find("login").open).toBe(true);
    expect(curl(spec, find("login"), "https://a.example")).toBe(
      `curl -sS -X POST "https://a.example/api/v1/auth/login" \\\n  -H "Content-Type: application/json" \\\n  -d '{"password":"text","username":"text"}'`,
    );
    expect(matches(find("login"), "Sign POST")).toBe(true);
    expect(matches(find("login"), "sign out")).toBe(false);
  });
});

describe("schemas", () => {
  const own: Spec = {
    info: { title: "x" },
    paths: {},
    components: {
      schemas: {
        Node: {
          type: "object",
          required: ["id"],
          properties: {
            id: { type: "string", maxLength: 36, description: "Its id." },
            at: { type: "string", format: "date-time" },
            next: { $ref: "#/components/schemas/Node" },
            tags: { type: ["array", "null"], items: { type: "string" } },
            by: { type: "object", additionalProperties: { type: "integer", format: "int64" } },
          },
        },
      },
    },
  };
  const node = { $ref: "#/components/schemas/Node" };

  it("are followed once", () => {
    expect(fields(own, { type: "array", items: node }).map((f) => `${f.name}: ${f.type}`)).toEqual([
      "[].id: string",
      "[].at: string (date-time)",
      "[].next: object",
      "[].tags: list of string",
      "[].by: map to integer",
    ]);
    expect(fields(own, node)[0]).toEqual({ name: "id", type: "string", required: true, text: "Its id. (at most 36 characters)" });
    expect(example(own, node)).toEqual({ id: "text" });
  });

  it("that lead nowhere say nothing", () => {
    expect(typeName(own, { $ref: "#/components/schemas/Gone" })).toBe("any");
    expect(fields(own, { $ref: "#/components/schemas/Gone" })).toEqual([]);
  });
});
