import type { Setup, SetupStep } from "../api/types";

/** The way from nothing to the first investigated incident. */

export type StepName = "provider" | "source" | "target" | "incident";

export const steps: { name: StepName; title: string; lead: string }[] = [
  { name: "provider", title: "Model", lead: "What investigates. The agent reaches it only through the proxy, which puts the key in." },
  { name: "source", title: "Alerts", lead: "Where alerts come from. Each becomes an incident, or a part of one." },
  { name: "target", title: "Host", lead: "What the agent may look at. It only reads by itself; anything else waits for a person." },
  { name: "incident", title: "First incident", lead: "An alert is investigated from end to end." },
];

const words: Record<StepName, { missing: string; begun: string }> = {
  provider: { missing: "a model", begun: "a test of the model" },
  source: { missing: "a source of alerts", begun: "the first alert" },
  target: { missing: "a host", begun: "a login on the host" },
  incident: { missing: "an investigated incident", begun: "an investigated incident" },
};

type Steps = Record<StepName, Pick<SetupStep, "state">>;

/** What is still to be done, in words. */
export function missing(state: Steps): string[] {
  return steps.flatMap(({ name }) => {
    const step = state[name].state;
    return step === "done" ? [] : [words[name][step]];
  });
}

/** Where somebody goes on who comes back: the first that is not done; the last if all are. */
export function firstOpen(state: Pick<Setup, StepName> | Steps): StepName {
  return steps.find(({ name }) => state[name].state !== "done")?.name ?? "incident";
}
