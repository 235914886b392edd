import type { Body } from "../api/types";

/** A declared HTTP tool while it is being written: what the form has, and what the api takes. */

export type Server = Body<"ServerView">;
export type ServerTool = Body<"ServerTool">;
export type HTTPTool = Body<"HTTPTool">;
export type Param = Body<"HTTPParam">;
export type ToolInput = Body<"ToolInput">;
export type Entry = Body<"ToolEntry">;

export const methods = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"] as const;
export const places = ["path", "query", "header", "body"] as const;
export const types = ["string", "integer", "boolean", "array", "object"] as const;

/** Whether a method changes nothing, by what it means. */
export const reads = (method: string): boolean => method === "GET" || method === "HEAD";

export interface Draft {
  name: string;
  enabled: boolean;
  mutates: boolean;
  /** The argument that is a shell command, or - if none is; empty if nobody has said. */
  command: string;
  http: HTTPTool & { params: Param[]; fields: string[] };
}

export function draftOf(t?: ServerTool): Draft {
  const h = t?.http;
  return {
    name: t?.name ?? "",
    enabled: t?.enabled ?? true,
    mutates: t?.mutates ?? false,
    command: t?.command ?? "",
    http: { ...h, description: h?.description ?? "", method: h?.method ?? "GET", path: h?.path ?? "/", params: h?.params ?? [], fields: h?.fields ?? [] },
  };
}

/** The names between braces in a path, in order and each once. */
export function inPath(path: string): string[] {
  const names = [...(path.split("?")[0] ?? "").matchAll(/\{([^{}]*)\}/g)].map((m) => m[1] ?? "");
  return names.filter((n, i) => n !== "" && names.indexOf(n) === i);
}

/** The parameters with those that the path asks for: new ones are added, and one that it lost goes, unless somebody has described it. */
export function matchPath(path: string, params: Param[]): Param[] {
  const names = inPath(path);
  const kept = params.filter((p) => p.in !== "path" || names.includes(p.name) || p.description !== "");
  for (const name of names) {
    if (!kept.some((p) => p.in === "path" && p.name === name)) kept.push({ name, in: "path", type: "string", required: true, description: "" });
  }
  return kept;
}

/** What the api takes of a draft: nothing that is empty, and what a method implies. */
export function inputOf(d: Draft): ToolInput {
  const { params, fields, pointer, ...rest } = d.http;
  const http: HTTPTool = { ...rest, description: rest.description.trim(), path: rest.path.trim() };
  if (params.length > 0) {
    http.params = params.map((p) => {
      const kept: Param = { ...p };
      if (kept.in === "path") kept.required = true;
      for (const name of ["as", "pattern"] as const) if (kept[name] === "") delete kept[name];
      if (kept.enum?.length === 0) delete kept.enum;
      if (!kept.required) delete kept.required;
      return kept;
    });
  }
  if (pointer) http.pointer = pointer;
  if (fields.length > 0) http.fields = fields;
  const input: ToolInput = { name: d.name, enabled: d.enabled, mutates: d.mutates || !reads(d.http.method), http };
  if (d.command) input.command = d.command;
  return input;
}

/** What can be said about the commands of a tool with these arguments, for a field to choose from. */
export const commandChoices = (names: string[]) => [{ value: "", label: "Nobody has said" }, { value: "-", label: "None" }, ...names.map((n) => ({ value: n, label: n }))];

/** The arguments of a tool of MCP that are texts, by its schema. */
export function textArguments(schema: unknown): string[] {
  const object = (v: unknown): Record<string, unknown> => (typeof v === "object" && v !== null && !Array.isArray(v) ? (v as Record<string, unknown>) : {});
  return Object.entries(object(object(schema).properties)).flatMap(([name, v]) => (object(v).type === "string" ? [name] : []));
}

/** All that the api is to know of a server, with other tools. */
export function changeOf(s: Server, tools: ToolInput[] | undefined): Body<"ChangedToolServerBody"> {
  const body: Body<"ChangedToolServerBody"> = { revision: s.revision, url: s.url, allow_http: s.allow_http, allow_private: s.allow_private, enabled: s.enabled };
  if (s.ca) body.ca = s.ca;
  if (s.credential) body.credential = s.credential;
  if (s.header) body.header = s.header;
  if (s.kind === "http") body.tools = tools ?? inputs(s);
  return body;
}

/** The tools of an HTTP API as the api takes them. */
export const inputs = (s: Server): ToolInput[] =>
  s.tools.flatMap((t) => (t.http ? [{ name: t.name, enabled: t.enabled, mutates: t.mutates, ...(t.command ? { command: t.command } : {}), http: t.http }] : []));

/** Reads the arguments of a trial: a JSON object, or what is wrong with it. */
export function readArguments(text: string): { args: Record<string, unknown> } | { wrong: string } {
  try {
    const value: unknown = JSON.parse(text.trim() || "{}");
    if (typeof value === "object" && value !== null && !Array.isArray(value)) return { args: value as Record<string, unknown> };
  } catch {
    // as below
  }
  return { wrong: 'Arguments are a JSON object, such as {"name": "value"}.' };
}

/** Arguments to begin a trial with: one of the right type for each that is required. */
export function sample(params: Param[]): string {
  const value = (p: Param): unknown =>
    p.enum?.[0] ?? { string: "", integer: p.min ?? 1, boolean: false, array: [], object: {} }[p.type as (typeof types)[number]] ?? "";
  return JSON.stringify(Object.fromEntries(params.filter((p) => p.required).map((p) => [p.name, value(p)])), null, 1);
}

export interface Line {
  kind: "same" | "old" | "new";
  text: string;
}

/** What has changed between two texts, line by line: the longest common lines stay. Texts that are too long are shown one behind the other. */
export function changes(before: string, after: string): Line[] {
  const a = before.split("\n");
  const b = after.split("\n");
  if (a.length * b.length > 250_000) return [...a.map((text): Line => ({ kind: "old", text })), ...b.map((text): Line => ({ kind: "new", text }))];
  const common: number[][] = Array.from({ length: a.length + 1 }, () => new Array<number>(b.length + 1).fill(0));
  const at = (i: number, j: number) => common[i]?.[j] ?? 0;
  for (let i = a.length - 1; i >= 0; i--) {
    for (let j = b.length - 1; j >= 0; j--) (common[i] as number[])[j] = a[i] === b[j] ? at(i + 1, j + 1) + 1 : Math.max(at(i + 1, j), at(i, j + 1));
  }
  const lines: Line[] = [];
  for (let i = 0, j = 0; i < a.length || j < b.length; ) {
    if (i < a.length && j < b.length && a[i] === b[j]) {
      lines.push({ kind: "same", text: a[i++] as string });
      j++;
    } else if (i < a.length && (j === b.length || at(i + 1, j) >= at(i, j + 1))) {
      lines.push({ kind: "old", text: a[i++] as string });
    } else {
      lines.push({ kind: "new", text: b[j++] as string });
    }
  }
  return lines;
}

/** A definition as a text that people can compare. */
export const written = (t: Body<"RemoteTool"> | undefined): string => (t ? `${t.description}\n\n${JSON.stringify(t.schema, null, 1)}` : "");
