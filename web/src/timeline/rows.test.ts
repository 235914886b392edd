import { describe, expect, it } from "vitest";
import type { EventData, TimelineEvent } from "../api/types";
import { type CallRow, callKey, folded, RowBuilder, type TextRow } from "./rows";

function script() {
  let seq = 0;
  return <K extends keyof EventData>(kind: K, data: EventData[K]): TimelineEvent =>
    ({ incident_id: "i", seq: ++seq, at: "2026-01-01T00:00:00Z", run_id: "r", kind, data }) as TimelineEvent;
}

const result = { id: "c1", state: "done", text: "out", duration_ns: 1e6, exit_code: 0 } as const;

describe("RowBuilder", () => {
  it("grows one block a turn and replaces it by the message", () => {
    const e = script();
    const b = new RowBuilder();
    let t = b.add([e("text.delta", { turn: 1, text: "Look" }), e("text.delta", { turn: 1, text: "ing" })]);
    expect(t.rows).toMatchObject([{ row: "text", text: "Looking", open: true }]);
    t = b.add([e("message", { turn: 1, text: "Looking at df.", usage: { input_tokens: 7, output_tokens: 3 } })]);
    expect(t.rows).toMatchObject([{ row: "text", text: "Looking at df.", open: false }]);
    t = b.add([e("message", { turn: 2, text: "Next.", usage: { model: "m", input_tokens: 1, output_tokens: 1 } })]);
    expect(t.rows).toHaveLength(2);
    expect(t.usage).toEqual({ model: "m", input_tokens: 8, output_tokens: 4, cost_usd: 0, unpriced: 2 });
    t = b.add([
      e("message", { turn: 3, text: "x", usage: { input_tokens: 1, output_tokens: 1, cost_usd: 0.25 } }),
      e("compaction", { turns: 2, output: 2000, before: 9, after: 4, usage: { input_tokens: 5, output_tokens: 1, cost_usd: 0.5 } }),
    ]);
    expect(t.usage).toMatchObject({ input_tokens: 14, output_tokens: 6, cost_usd: 0.75, unpriced: 2 });
    expect(t.rows.at(-1)).toMatchObject({ row: "compaction" });
  });

  it("keeps what the model thought in one row a turn", () => {
    const e = script();
    const b = new RowBuilder();
    let t = b.add([e("reasoning", { turn: 1, text: "Hm" }), e("reasoning", { turn: 1, text: "m." }), e("text.delta", { turn: 1, text: "Look" })]);
    expect(t.rows).toMatchObject([{ row: "thought", text: "Hmm." }, { row: "text", text: "Look" }]);
    t = b.add([e("message", { turn: 1, text: "Look.", reasoning: "Hmm. Yes." })]);
    expect(t.rows).toMatchObject([{ row: "thought", text: "Hmm. Yes." }, { row: "text", text: "Look.", open: false }]);
  });

  it("says of what a person said when the agent has read it", () => {
    const e = script();
    const b = new RowBuilder();
    let t = b.add([e("person.said", { text: "look at web-2" })]);
    expect(t.rows).toMatchObject([{ row: "said", text: "look at web-2", read: false }]);
    t = b.add([e("applied", { seq: 1 })]);
    expect(t.rows).toMatchObject([{ row: "said", read: true }]);
    expect(t.rows).toHaveLength(1);
  });

  it("shows a call, its output and its result as one row", () => {
    const e = script();
    const b = new RowBuilder();
    let t = b.add([
      e("tool.call", { id: "c1", name: "ssh_execute", arguments: { command: "df" } }),
      e("tool.output", { id: "c1", text: "ou" }),
      e("tool.output", { id: "c1", text: "t" }),
    ]);
    expect(t.rows).toMatchObject([{ row: "call", live: "out", result: null }]);
    t = b.add([e("tool.result", result)]);
    expect(t.rows).toMatchObject([{ row: "call", live: "", result: { text: "out" } }]);
  });

  it("says of a call that people are asked about it, until they have decided", () => {
    const e = script();
    const b = new RowBuilder();
    const change = { approval_id: "a", call_id: "c1", tool: "ssh_execute", command: "reboot" } as const;
    let t = b.add([e("tool.call", { id: "c1", name: "ssh_execute" }), e("approval.requested", { ...change, state: "pending" })]);
    expect(t.rows).toMatchObject([{ row: "call", asks: true }, { row: "approval", kind: "approval.requested" }]);
    t = b.add([e("approval.decided", { ...change, state: "approved", by: "ann" })]);
    expect(t.rows).toMatchObject([{ row: "call", asks: false }, { row: "approval" }, { row: "approval", change: { by: "ann" } }]);
  });

  it("keeps the calls of a turn in the model's order, however they run", () => {
    const e = script();
    const calls = [1, 2, 3].map((n) => ({ id: `c${n}`, name: "ssh_execute", arguments: { command: `x${n}` } }));
    const t = new RowBuilder().add([
      e("message", { turn: 1, text: "Three at once.", calls }),
      e("tool.call", { id: "c3", name: "ssh_execute" }),
      e("tool.call", { id: "c1", name: "ssh_execute" }),
    ]);
    expect(t.rows.map((r) => (r.row === "call" ? `${r.id} ${r.started}` : r.row))).toEqual(["text", "c1 true", "c2 false", "c3 true"]);
    expect(new Set(t.rows.map((r) => r.key)).size).toBe(4);
  });

  it("shows a refused call by its name, and findings only if they were refused", () => {
    const e = script();
    const b = new RowBuilder();
    const findings = { id: "c2", name: "submit_findings", arguments: {} };
    let t = b.add([
      e("message", { turn: 1, calls: [{ id: "c1", name: "rm_rf" }, findings] }),
      e("tool.result", { ...result, state: "denied", text: "there is no such tool" }),
    ]);
    expect(t.rows).toMatchObject([{ row: "call", name: "rm_rf", started: false, result: { state: "denied" } }]);
    t = b.add([e("tool.result", { ...result, id: "c2", state: "denied", text: "not accepted" })]);
    expect(t.rows).toMatchObject([{ id: "c1" }, { id: "c2", name: "submit_findings" }]);
  });

  it("drops what it has seen", () => {
    const e = script();
    const b = new RowBuilder();
    const first = e("notice", { text: "n" });
    b.add([first]);
    expect(b.add([first, first]).rows).toHaveLength(1);
  });

  it("marks a block that lost its writer and starts another", () => {
    const e = script();
    const t = new RowBuilder().add([
      e("text.delta", { turn: 1, text: "half a sen" }),
      e("run.requeued", { state: "queued" }),
      e("run.started", { state: "running" }),
      e("text.delta", { turn: 1, text: "whole" }),
    ]);
    expect(t.rows.map((r) => r.row)).toEqual(["text", "run", "run", "text"]);
    expect(t.rows[0]).toMatchObject({ interrupted: true, open: false });
    expect((t.rows[3] as TextRow).text).toBe("whole");
  });

  it("starts a turn over after a notice", () => {
    const e = script();
    const t = new RowBuilder().add([
      e("text.delta", { turn: 1, text: "one" }),
      e("notice", { text: "the model stopped mid-stream; trying again" }),
      e("text.delta", { turn: 1, text: "two" }),
    ]);
    expect((t.rows[0] as TextRow).text).toBe("two");
  });

  it("forgets the live output of a call that starts again", () => {
    const e = script();
    const t = new RowBuilder().add([
      e("tool.call", { id: "c1", name: "ssh_execute" }),
      e("tool.output", { id: "c1", text: "old" }),
      e("tool.call", { id: "c1", name: "ssh_execute" }),
      e("tool.output", { id: "c1", text: "new" }),
    ]);
    expect(t.rows).toHaveLength(1);
    expect((t.rows[0] as CallRow).live).toBe("new");
  });

  it("keeps unchanged rows the same objects and bounds live output", () => {
    const e = script();
    const b = new RowBuilder();
    const before = b.add([e("notice", { text: "n" }), e("tool.call", { id: "c1", name: "x" })]).rows;
    const after = b.add(Array.from({ length: 100 }, () => e("tool.output", { id: "c1", text: "x".repeat(1024) }))).rows;
    expect(after[0]).toBe(before[0]);
    expect((after[1] as CallRow).live.length).toBe(64 * 1024);
  });

  it("folds what another agent did under the call that asked it, at any depth", () => {
    const e = script();
    const of = (run: string, event: TimelineEvent): TimelineEvent => ({ ...event, run_id: run });
    const asked = (run: string) => e("agent.asked", { call_id: "c1", run, agent: "reviewer", task: "look", depth: 1 });
    const t = new RowBuilder().add([
      e("tool.call", { id: "c1", name: "ask_agent", arguments: { agent: "reviewer", task: "look" } }),
      asked("child"),
      of("child", e("notice", { text: "in it" })),
      of("child", e("tool.call", { id: "c1", name: "ask_agent" })),
      of("child", asked("grandchild")),
      of("grandchild", e("notice", { text: "deep" })),
      e("notice", { text: "after" }),
    ]);
    const { top, below } = folded(t);
    expect(top).toMatchObject([{ row: "call", id: "c1", asked: { run: "child", agent: "reviewer" } }, { row: "notice", text: "after" }]);
    expect(below.get(callKey("r", "c1"))).toMatchObject([{ row: "notice", text: "in it" }, { row: "call", asked: { run: "grandchild" } }]);
    expect(below.get(callKey("child", "c1"))).toMatchObject([{ row: "notice", text: "deep" }]);
    const plain = new RowBuilder().add([e("notice", { text: "n" })]);
    expect(folded(plain).top).toBe(plain.rows);
  });

  it("ignores kinds it does not know", () => {
    const later = { incident_id: "i", seq: 1, at: "", kind: "from.the.future", data: {} } as unknown as TimelineEvent;
    expect(new RowBuilder().add([later])).toMatchObject({ rows: [], lastSeq: 1 });
  });

  it("folds 50,000 events in well under a second", () => {
    const e = script();
    const events = Array.from({ length: 50_000 }, (_, i) =>
      i % 3 ? e("text.delta", { turn: Math.floor(i / 30), text: "x" }) : e("alert.firing", { alert_id: "a", title: "t", severity: "info" }),
    );
    const started = performance.now();
    new RowBuilder().add(events);
    expect(performance.now() - started).toBeLessThan(1000);
  });
});
