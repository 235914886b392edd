import type { Body, Finding, Memory } from "../api/types";
import { isTime } from "../text/time";
import { pasteable } from "../text/visible";

/** What the address of the page says: what is looked for. */
export interface MemorySearch {
  q?: string;
  state?: "current" | "old";
  incident?: string | number;
}

export function readSearch(search: Record<string, unknown>): MemorySearch {
  const text = (value: unknown, max: number) => (typeof value === "string" || typeof value === "number" ? String(value).trim().slice(0, max) : "");
  const kept: MemorySearch = {};
  const q = text(search.q, 200);
  // A number stays one: the router would put a text of digits into quotes.
  const incident = typeof search.incident === "number" ? search.incident : text(search.incident, 64);
  if (q) kept.q = q;
  if (incident) kept.incident = incident;
  if (search.state === "current" || search.state === "old") kept.state = search.state;
  return kept;
}

/** The texts of a memory as they are edited. */
export interface Draft {
  service: string;
  labels: string; // one a line
  pattern: string;
  cause: string;
  fix: string;
  days: string; // empty: as it is
}

/** The bounds of the api, in characters. */
export const bounds = { service: 100, text: 1000, fix: 1500 };

const serviceName = /^[\p{L}\p{N}][\p{L}\p{N}._:/@-]{0,63}$/u;

/** What findings say, for a person to confirm. It is the model's text: without what cannot be seen. */
export function draftOf(f: Finding, service: string): Draft {
  const one = (text: string) => pasteable(text).replace(/\s+/g, " ").trim();
  const clip = (text: string, max: number) => {
    const chars = [...text.trim()];
    return chars.length > max ? `${chars.slice(0, max - 1).join("").trim()}…` : chars.join("");
  };
  const fix = (f.actions ?? []).map((a) => {
    const command = one(a.command ?? "");
    return one(a.title) + (command ? `: ${command}${a.target ? ` (on ${one(a.target)})` : ""}` : "");
  });
  return {
    service: serviceName.test(service) ? service : "",
    labels: "",
    pattern: clip(pasteable(f.summary), bounds.text),
    cause: clip(pasteable(f.root_cause), bounds.text),
    fix: clip(fix.join("\n"), bounds.fix),
    days: "180",
  };
}

export function draftOfMemory(m: Memory): Draft {
  return { service: m.service ?? "", labels: m.labels.join("\n"), pattern: m.pattern, cause: m.cause, fix: m.fix ?? "", days: "" };
}

/** What is sent of a draft. */
export function bodyOf(d: Draft): Body<"ChangedMemoryBody"> {
  return {
    service: d.service.trim(),
    labels: d.labels.split("\n").map((l) => l.trim()).filter((l) => l !== ""),
    pattern: d.pattern,
    cause: d.cause,
    fix: d.fix,
    ...(d.days.trim() === "" ? {} : { days: Number(d.days) }),
  };
}

/** Why a draft cannot be saved, empty if it can. */
export function wrong(d: Draft): string {
  if (d.pattern.trim() === "") return "Say how it shows.";
  if (d.cause.trim() === "") return "Say what it was.";
  if (bodyOf(d).labels?.some((l) => l.indexOf(":") < 1)) return "A label is of the form key:value.";
  const days = Number(d.days);
  if (d.days.trim() !== "" && (!Number.isInteger(days) || days < 0 || days > 3650)) return "Days are a number from 0 to 3650.";
  return "";
}

/** Whether investigations are offered it, and if not, why. */
export function stateOf(m: Memory, now: number): "offered" | "stale" | "expired" {
  if (m.stale) return "stale";
  return isTime(m.expires_at) && Date.parse(m.expires_at) <= now ? "expired" : "offered";
}

/** Who confirmed it, as people say it. */
export function confirmer(by: string): string {
  const [, kind, name] = /^(user|rule):(.*)$/s.exec(by) ?? [];
  return kind === "rule" ? `the rule ${name}` : (name ?? by);
}
