import { describe, expect, it } from "vitest";
import type { Run } from "../api/types";
import { familyOf, takenBy, takenText } from "./family";

function run(id: string, asked_by = "", more: Partial<Run> = {}): Run {
  return {
    id, asked_by, incident_id: "i", agent: id, state: "concluded", epoch: 1, acked_seq: 0, actor: "alert:a", created_at: `2026-01-01T00:00:0${id.length}Z`,
    input_tokens: 10, output_tokens: 1, usd: 0.5, turns: 2, ...more,
  };
}

describe("a family of runs", () => {
  const runs = [run("ccc", "a"), run("bb", "a"), run("dddd", "bb", { unpriced: true }), run("a"), run("other")];
  it("is a tree in the order of asking", () => {
    const a = familyOf(runs, "a");
    expect(a?.asked.map((r) => r.run.id)).toEqual(["bb", "ccc"]);
    expect(a?.asked[0]?.asked.map((r) => r.run.id)).toEqual(["dddd"]);
    expect(familyOf(runs, "nobody")).toBeUndefined();
    expect(familyOf(runs, "other")?.asked).toEqual([]);
  });
  it("takes what all of it has taken", () => {
    const a = familyOf(runs, "a");
    expect(a && takenBy(a)).toEqual({ turns: 8, tokens: 44, usd: 2, unpriced: true });
    expect(a && takenText(takenBy(a))).toBe("8 turns, 44 tokens, at least $2.00");
    expect(takenText({ turns: 1, tokens: 12345, usd: 0.0123, unpriced: false })).toBe("1 turn, 12,345 tokens, $0.0123");
    expect(takenText({ turns: 0, tokens: 0, usd: 0, unpriced: false })).toBe("0 turns, 0 tokens");
  });
});
