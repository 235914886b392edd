import { expect, test } from "vitest";
import type { SetupStep } from "../api/types";
import { firstOpen, missing } from "./steps";

type State = SetupStep["state"];
const state = (...s: State[]) => ({
  provider: { state: s[0] ?? "missing" },
  source: { state: s[1] ?? "missing" },
  target: { state: s[2] ?? "missing" },
  incident: { state: s[3] ?? "missing" },
});

test("what is missing is said in its words, and one goes on there", () => {
  expect(missing(state())).toEqual(["a model", "a source of alerts", "a host", "an investigated incident"]);
  expect(missing(state("done", "begun", "begun"))).toEqual(["the first alert", "a login on the host", "an investigated incident"]);
  expect(missing(state("done", "done", "done", "done"))).toEqual([]);
  expect(firstOpen(state())).toBe("provider");
  expect(firstOpen(state("done", "missing", "done"))).toBe("source");
  expect(firstOpen(state("done", "done", "done", "done"))).toBe("incident");
});
