import type { Body, Severity, Source } from "../api/types";
import { span } from "../text/time";

/** The settings of a source as its form has them: lengths of time as people write them. */

export type Options = Body<"SourceOptions">;

export const severities: readonly Severity[] = ["critical", "high", "warning", "info"];

const units: Record<string, number> = { s: 1, m: 60, h: 3600, d: 86_400, w: 604_800 };

/** Seconds of "90", "5m" or "1h 30m"; undefined if it is no length of time. */
export function parseSpan(typed: string): number | undefined {
  const text = typed.trim().toLowerCase();
  if (/^\d{1,9}$/.test(text)) return Number(text);
  if (!/^(\d{1,9}\s*[smhdw]\s*)+$/.test(text)) return undefined;
  let seconds = 0;
  for (const [, n, unit] of text.matchAll(/(\d+)\s*([smhdw])/g)) seconds += Number(n) * (units[unit ?? ""] ?? 0);
  return seconds;
}

/** The length of time as it can be typed again, exactly; nothing for the default. */
export function showSpan(seconds: number | undefined): string {
  let rest = seconds ?? 0;
  const parts: string[] = [];
  for (const [unit, size] of [["d", 86_400], ["h", 3600], ["m", 60], ["s", 1]] as const) {
    const n = Math.floor(rest / size);
    if (n > 0) parts.push(`${n}${unit}`);
    rest -= n * size;
  }
  return parts.join(" ");
}

/** The names of the form's fields, which are those of the api in its messages. */
export type FieldName =
  | "name"
  | "settings"
  | "severities"
  | "flap_hold_seconds"
  | "reopen_window_seconds"
  | "resolve_timeout_seconds"
  | "silent_after_seconds"
  | "storm_incidents_per_minute"
  | "storm_quiet_seconds"
  | "reconcile.url"
  | "reconcile.every_seconds"
  | "reconcile.target";

export type FieldErrors = Partial<Record<FieldName, string>>;

interface TimeField {
  name: "flap_hold_seconds" | "reopen_window_seconds" | "resolve_timeout_seconds" | "silent_after_seconds" | "storm_quiet_seconds";
  label: string;
  help: string;
  /** What an empty field means. */
  empty: string;
}

export const timeFields: readonly TimeField[] = [
  {
    name: "flap_hold_seconds",
    label: "Wait before resolving",
    help: "For alerts that come and go: the incident is resolved only when its alerts have stayed away for so long.",
    empty: "at once",
  },
  {
    name: "reopen_window_seconds",
    label: "Open the same incident again within",
    help: "An alert that comes back within this time opens its old incident again. Later it opens a new one.",
    empty: "10m",
  },
  {
    name: "resolve_timeout_seconds",
    label: "End alerts that are not mentioned for",
    help: "For senders that never say that something is over. Leave it empty if yours does.",
    empty: "never",
  },
  {
    name: "silent_after_seconds",
    label: "Raise an alert when nothing arrives for",
    help: "A sender that has stopped looks like a quiet night. Choose longer than its usual pause.",
    empty: "never",
  },
];

/** What has been typed, with what is wrong in it. */
export interface Typed {
  options: Options;
  errors: FieldErrors;
}

interface Row {
  word: string;
  severity: string;
}

/** Reads the options of a form. What the api decides, such as how long is too long, is left to it. */
export function readOptions(get: (name: string) => string, rows: readonly Row[], kind: string): Typed {
  const options: Options = {};
  const errors: FieldErrors = {};
  const time = (name: FieldName): number => {
    const typed = get(name);
    if (typed === "") return 0;
    const seconds = parseSpan(typed);
    if (seconds === undefined) errors[name] = "A length of time, such as 90s, 5m, 1h 30m or 2d.";
    return seconds ?? 0;
  };
  for (const { name } of timeFields) options[name] = time(name);
  options.storm_quiet_seconds = time("storm_quiet_seconds");

  const rate = get("storm_incidents_per_minute").toLowerCase();
  if (rate === "never") options.storm_incidents_per_minute = -1;
  else if (/^[1-9]\d{0,8}$/.test(rate)) options.storm_incidents_per_minute = Number(rate);
  else if (rate !== "") errors.storm_incidents_per_minute = "A number of incidents in a minute, or never.";

  const words: Record<string, string> = {};
  for (const row of rows) {
    const word = row.word.trim().toLowerCase();
    if (Object.hasOwn(words, word)) errors.severities = word === "" ? "Two rows have no word." : `“${word}” is there twice.`;
    words[word] = row.severity;
  }
  if (rows.length > 0) options.severities = words;

  if (kind === "alertmanager" || kind === "zabbix") {
    const asked = { url: get("reconcile.url"), every_seconds: time("reconcile.every_seconds"), target: get("reconcile.target") };
    if (kind === "alertmanager" && asked.url === "" && (asked.target !== "" || asked.every_seconds > 0))
      errors["reconcile.url"] = "Where Alertmanager can be asked, such as http://alertmanager:9093.";
    if (kind === "zabbix" && asked.target === "" && asked.every_seconds > 0) errors["reconcile.target"] = "The name of a target of kind zabbix.";
    if (asked.url !== "" || asked.target !== "") {
      options.reconcile = {
        every_seconds: asked.every_seconds,
        ...(asked.url !== "" && { url: asked.url }),
        ...(asked.target !== "" && { target: asked.target }),
      };
    }
  }
  for (const name of Object.keys(options) as (keyof Options)[]) if (options[name] === 0) delete options[name];
  return { options, errors };
}

/** The storm rate as it is typed. */
export function showRate(rate: number | undefined): string {
  return rate === -1 ? "never" : rate ? String(rate) : "";
}

const fieldNames: readonly FieldName[] = [
  "name",
  "settings",
  "severities",
  "flap_hold_seconds",
  "reopen_window_seconds",
  "resolve_timeout_seconds",
  "silent_after_seconds",
  "storm_incidents_per_minute",
  "storm_quiet_seconds",
  "reconcile.url",
  "reconcile.every_seconds",
  "reconcile.target",
];

/** Finds the field that a refusal of the api is about, and says it in the form's words. Nothing if it is about none. */
export function fieldErrorOf(message: string): FieldErrors {
  if (message.startsWith("that name is taken")) return { name: "Another source has this name." };
  for (const field of fieldNames) {
    const at = ` ${message}`.indexOf(` ${field}: `);
    if (at >= 0) return { [field]: sentence(field, message.slice(at + field.length + 2)) };
  }
  return {};
}

function sentence(field: FieldName, said: string): string {
  if (field === "name" && said.includes("pattern")) return "Letters, digits, dots, dashes and underscores; a letter or digit first.";
  const [, least, most] = /it is 0 for the default, or from (-?\d+) to (\d+)/.exec(said) ?? [];
  if (least !== undefined && most !== undefined) {
    if (field === "storm_incidents_per_minute") return `Leave it empty, or give never, or at most ${Number(most).toLocaleString()}.`;
    const from = Number(least);
    return `Leave it empty, or give ${from > 0 ? `${span(from * 1000)} to` : "at most"} ${span(Number(most) * 1000)}.`;
  }
  return said.charAt(0).toUpperCase() + said.slice(1);
}

/** What the form shows of a source, to tell whether somebody else has changed it meanwhile. */
export function formOf(source: Pick<Source, "name" | "enabled" | "options" | "settings">): string {
  return JSON.stringify([source.name, source.enabled, source.options, source.settings ?? null]);
}
