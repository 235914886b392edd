import type { Agent, Body, Explanation } from "../api/types";

/** What of an agent a person edits, as texts of fields. */
export interface Draft {
  description: string;
  prompt: string;
  provider: string;
  rules: string;
  tools: string;
  skills: string;
  sub_agents: string;
  targets: string;
  credentials: string;
  steps: string;
  tool_calls: string;
  minutes: string;
  tokens: string;
  usd: string;
}

export const noDraft: Draft = { description: "", prompt: "", provider: "", rules: "", tools: "", skills: "", sub_agents: "", targets: "", credentials: "", steps: "", tool_calls: "", minutes: "", tokens: "", usd: "" };

export function draftOf(a: Agent): Draft {
  const n = (v: number | undefined) => (v ? String(v) : "");
  return {
    description: a.description ?? "",
    prompt: a.prompt ?? "",
    provider: a.provider ?? "",
    rules: (a.rules ?? []).join("\n"),
    tools: (a.tools ?? []).join(" "),
    skills: (a.skills ?? []).join(" "),
    sub_agents: (a.sub_agents ?? []).join(" "),
    targets: (a.targets ?? []).join(" "),
    credentials: (a.credentials ?? []).join(" "),
    steps: n(a.limits?.steps),
    tool_calls: n(a.limits?.tool_calls),
    minutes: n(a.limits?.seconds && a.limits.seconds / 60),
    tokens: n(a.limits?.tokens),
    usd: n(a.limits?.usd),
  };
}

/** The rules of a text: one a line, blank lines left out. */
export function linesOf(text: string): string[] {
  return text.split("\n").map((l) => l.trim()).filter(Boolean);
}

/** The names in a text, with blanks or commas between. */
export function namesOf(text: string): string[] {
  return [...new Set(text.split(/[\s,]+/).filter(Boolean))];
}

/** The whole body of a change. What this form has no field for stays as it is. */
export function bodyOf(d: Draft, was?: Agent): Omit<Body<"ChangedAgentBody">, "disabled"> {
  const n = (text: string) => (text.trim() === "" ? 0 : Number(text));
  return {
    description: d.description,
    prompt: d.prompt,
    provider: d.provider,
    rules: linesOf(d.rules),
    tools: namesOf(d.tools),
    skills: namesOf(d.skills),
    sub_agents: namesOf(d.sub_agents),
    targets: namesOf(d.targets),
    credentials: namesOf(d.credentials),
    limits: { ...was?.limits, steps: n(d.steps), tool_calls: n(d.tool_calls), seconds: Math.round(n(d.minutes) * 60), tokens: n(d.tokens), usd: n(d.usd) },
  };
}

/**
 * The line of the text, from 0, that the api finds fault with: it names the rule
 * by its number among those that are not blank. -1 if it names none.
 */
export function faultyLine(message: string, text: string): number {
  const found = /rules\[(\d+)\]/.exec(message);
  if (!found) return -1;
  let rule = Number(found[1]);
  return text.split("\n").findIndex((line) => line.trim() !== "" && rule-- === 0);
}

/** The arguments of a call to try: of a tool for commands the text is the command, else a JSON object. Undefined if it is neither. */
export function argumentsOf(tool: string, text: string): Record<string, unknown> | undefined {
  const argument = subjects[tool];
  if (argument !== undefined && !text.trimStart().startsWith("{")) return { [argument]: text };
  if (text.trim() === "") return {};
  try {
    const parsed: unknown = JSON.parse(text);
    return typeof parsed === "object" && parsed !== null && !Array.isArray(parsed) ? (parsed as Record<string, unknown>) : undefined;
  } catch {
    return undefined;
  }
}

/** The tools whose rules are about one argument, and which. */
export const subjects: Record<string, string> = {
  ssh_execute: "command",
  Bash: "command",
  ssh_read_file: "path",
  Read: "path",
  Write: "path",
  Edit: "path",
  Grep: "path",
  Glob: "path",
  zabbix_api: "method",
  ask_agent: "agent",
};

export const verdicts: Record<Explanation["verdict"], string> = { allow: "Allowed", ask: "Asks people", deny: "Denied" };

export const effects: Record<Explanation["effect"], string> = {
  reads: "Only reads",
  changes: "Changes something that can be undone",
  exposure: "Uses the network or may show a secret",
  privilege: "Gives or uses rights",
  destroys: "Destroys data",
  unknown: "Not known",
};

/** What an effect is, in words; one that this page does not know as it is. */
export function effectText(effect: string): string {
  return effects[effect as Explanation["effect"]] ?? effect;
}

const layers: Record<string, string> = { platform: "the platform", role: "the role of who starts it", agent: "this agent", run: "the token", workspace: "every workspace" };

/** Whose rule that is. */
export function layerText(layer: string): string {
  return layers[layer] ?? layer;
}
