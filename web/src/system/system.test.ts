import { expect, test } from "vitest";
import type { Process, System } from "../api/types";
import { kindsOf, verdict } from "./system";

const process = (kind: string, more: Partial<Process> = {}): Process => ({ kind, version: "v1", alive: true, started_at: "2026-03-01T00:00:00Z", seen_at: "2026-03-02T00:00:00Z", ...more });
const system = (processes: Process[], more: Partial<System> = {}): System => ({
  at: "2026-03-02T00:00:00Z",
  processes,
  schema: 26,
  postgres: "17",
  database_bytes: 1,
  runs_queued: 0,
  runs_running: 0,
  runs_waiting_approval: 0,
  approvals_pending: 0,
  search_waiting: 0,
  chores: [],
  dead_letters: [],
  ...more,
});
const whole = [process("api", { workers: [{ name: "w", slots: 4, runs: 0 }] }), process("gateway"), process("proxy")];

test("all is well while every kind lives and a worker is there", () => {
  expect(verdict(system(whole))).toEqual([]);
});

test("what is wrong is said, the worst first", () => {
  const wrong = verdict(
    system([process("api"), process("gateway", { alive: false }), process("proxy", { version: "v2" })], {
      oldest_queued_at: "2026-03-01T23:30:00Z",
      chores: [{ name: "reconcile", failing: true }],
      dead_letters: [{ source_id: "s", source: "s", count: 3 }],
    }),
  );
  expect(wrong).toEqual([
    "No gateway is alive: agents can use no tool.",
    "No worker is connected: investigations wait.",
    "The processes have different versions: v1, v2.",
    "What fails by itself: reconcile.",
    "The oldest investigation has waited for a worker for 30 minutes.",
    "3 deliveries could not be read.",
  ]);
});

test("a worker of another version is told of", () => {
  const old = [process("api", { workers: [{ name: "w", build: "v0", slots: 4, runs: 0 }] }), process("gateway"), process("proxy")];
  expect(verdict(system(old))).toEqual(["The processes have different versions: v0, v1."]);
});

test("a kind without a process is there as well, and those that live come first", () => {
  const kinds = kindsOf(system([process("api", { alive: false }), process("api")]));
  expect(kinds.map((k) => [k.kind, k.processes.map((p) => p.alive)])).toEqual([
    ["api", [true, false]],
    ["gateway", []],
    ["proxy", []],
  ]);
});
