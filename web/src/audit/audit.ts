import type { AuditRecord } from "../api/types";

/** What the audit page is about, in its address: so that a search can be linked to. */
export interface AuditSearch {
  chain?: "api" | "gateway" | "proxy";
  actor?: string;
  action?: string;
  object?: string;
  run?: string;
  incident?: string;
  outcome?: Outcome;
  from?: string;
  to?: string;
}

export const outcomes = ["ok", "denied", "failed", "unknown", "intent"] as const;
export type Outcome = (typeof outcomes)[number];

/** The chains, by who writes them. */
export const chains = {
  api: "What people change",
  gateway: "What agents do",
  proxy: "What models are asked",
} as const;

const texts = ["actor", "action", "object", "run", "incident"] as const;
const times = ["from", "to"] as const;

/** Keeps of an address what is a search. */
export function readSearch(raw: Record<string, unknown>): AuditSearch {
  const kept: AuditSearch = {};
  for (const name of texts) {
    const value = raw[name];
    if ((typeof value === "string" && value.trim() !== "") || typeof value === "number") kept[name] = String(value).trim();
  }
  for (const name of times) {
    const value = raw[name];
    if (typeof value === "string" && !Number.isNaN(Date.parse(value))) kept[name] = new Date(value).toISOString();
  }
  const chain = raw.chain;
  if (typeof chain === "string" && Object.hasOwn(chains, chain)) kept.chain = chain as keyof typeof chains;
  const outcome = outcomes.find((o) => o === raw.outcome);
  if (outcome) kept.outcome = outcome;
  return kept;
}

/** Where the export of a search is. */
export function exportURL(search: AuditSearch): string {
  const query = new URLSearchParams(Object.entries(search) as [string, string][]).toString();
  return "/api/v1/audit/export" + (query && `?${query}`);
}

/** A record's detail in the order in which one asks: why, on what, with what, the rest. */
export function details(record: AuditRecord): [string, string][] {
  const first = ["why", "rule", "verdict", "reason", "tool", "target", "credential", "requester", "digest"];
  const all = Object.entries(record.detail ?? {});
  const rank = (name: string) => (first.includes(name) ? first.indexOf(name) : first.length);
  return all.sort(([a], [b]) => rank(a) - rank(b) || a.localeCompare(b));
}

/** Why, in one line: what decided, or what was said. */
export function why(record: AuditRecord): string {
  const d = record.detail ?? {};
  return d.why || d.rule || d.reason || d.name || "";
}

/** Bytes as they are written elsewhere; the api sends them as base64. */
export function hex(base64: string | undefined): string {
  if (!base64) return "";
  return [...atob(base64)].map((c) => c.charCodeAt(0).toString(16).padStart(2, "0")).join("");
}
