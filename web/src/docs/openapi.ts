/**
 * What the API's description (OpenAPI 3.1) says, as the page shows it. Pure.
 */

export interface Schema {
  $ref?: string;
  type?: string | string[];
  format?: string;
  description?: string;
  enum?: unknown[];
  default?: unknown;
  items?: Schema;
  properties?: Record<string, Schema>;
  required?: string[];
  additionalProperties?: boolean | Schema;
  minimum?: number;
  maximum?: number;
  minLength?: number;
  maxLength?: number;
  maxItems?: number;
  readOnly?: boolean;
  writeOnly?: boolean;
  examples?: unknown[];
}

interface Parameter {
  name: string;
  in: string;
  required?: boolean;
  description?: string;
  schema?: Schema;
}

interface RawOperation {
  operationId: string;
  summary?: string;
  description?: string;
  tags?: string[];
  parameters?: Parameter[];
  requestBody?: { content?: Record<string, { schema?: Schema }> };
  responses?: Record<string, { description?: string; content?: Record<string, { schema?: Schema }> }>;
  security?: unknown[];
}

export interface Spec {
  info: { title: string; description?: string };
  paths: Record<string, Record<string, RawOperation>>;
  components?: { schemas?: Record<string, Schema> };
}

export interface Operation {
  id: string;
  method: string;
  path: string;
  summary: string;
  description: string;
  tag: string;
  open: boolean; // needs nobody to be signed in
  parameters: Parameter[];
  body?: Schema;
  answers: { status: string; type: string; schema?: Schema }[];
}

const methods = ["get", "post", "put", "patch", "delete"];

/** All operations by their tags, both in alphabetical order; within a tag by path. */
export function operations(spec: Spec): [string, Operation[]][] {
  const byTag = new Map<string, Operation[]>();
  for (const [path, item] of Object.entries(spec.paths)) {
    for (const method of methods) {
      const raw = item[method];
      if (!raw) continue;
      const tag = raw.tags?.[0] ?? "other";
      byTag.set(tag, [
        ...(byTag.get(tag) ?? []),
        {
          id: raw.operationId,
          method: method.toUpperCase(),
          path,
          summary: raw.summary ?? raw.operationId,
          description: raw.description ?? "",
          tag,
          open: raw.security?.length === 0,
          parameters: raw.parameters ?? [],
          body: Object.values(raw.requestBody?.content ?? {})[0]?.schema,
          answers: Object.entries(raw.responses ?? {}).map(([status, answer]) => {
            const [type, content] = Object.entries(answer.content ?? {})[0] ?? ["", undefined];
            return { status, type, schema: content?.schema };
          }),
        },
      ]);
    }
  }
  return [...byTag].map(([tag, all]): [string, Operation[]] => [tag, all.sort((a, b) => a.path.localeCompare(b.path))]).sort(([a], [b]) => a.localeCompare(b));
}

/** Whether all words of a search are in an operation's texts. */
export function matches(op: Operation, search: string): boolean {
  const text = `${op.method} ${op.path} ${op.summary} ${op.tag} ${op.description}`.toLowerCase();
  return search
    .toLowerCase()
    .split(/\s+/)
    .every((word) => text.includes(word));
}

/** The schema behind references; `{}` for one that leads nowhere. */
export function resolve(spec: Spec, schema: Schema | undefined): Schema {
  let found = schema ?? {};
  for (let hops = 0; found.$ref; hops++) {
    const next = spec.components?.schemas?.[found.$ref.replace("#/components/schemas/", "")];
    if (!next || hops === 10) return {};
    found = { ...next, description: found.description ?? next.description };
  }
  return found;
}

export interface Field {
  name: string; // with the names that it is in: "items[].id"
  type: string;
  required: boolean;
  text: string;
}

const deepest = 4;

/** The fields of an object and of what is in it. One that holds itself is not followed. */
export function fields(spec: Spec, schema: Schema | undefined, prefix = "", within: (string | undefined)[] = []): Field[] {
  const ref = schema?.$ref;
  if ((ref && within.includes(ref)) || within.length >= deepest) return [];
  const path = [...within, ref];
  const s = resolve(spec, schema);
  if (s.items) return fields(spec, s.items, `${prefix}[]`, path);
  return Object.entries(s.properties ?? {})
    .filter(([name]) => name !== "$schema")
    .flatMap(([name, property]): Field[] => {
      const full = prefix ? `${prefix}.${name}` : name;
      const p = resolve(spec, property);
      const own: Field = { name: full, type: typeName(spec, property), required: s.required?.includes(name) ?? false, text: describe(p) };
      return [own, ...fields(spec, property, full, path)];
    });
}

/** A type in words: `string (date-time)`, `list of numbers`. */
export function typeName(spec: Spec, schema: Schema | undefined): string {
  const s = resolve(spec, schema);
  if (s.enum) return s.enum.map((v) => JSON.stringify(v)).join(" | ");
  const type = [s.type].flat().find((t) => t !== "null") ?? "any";
  if (type === "array") return `list of ${typeName(spec, s.items)}`;
  if (type === "object" && typeof s.additionalProperties === "object") return `map to ${typeName(spec, s.additionalProperties)}`;
  return s.format && !["int64", "int32", "double"].includes(s.format) ? `${type} (${s.format})` : type;
}

function describe(s: Schema): string {
  const limits = [
    s.minimum !== undefined && `at least ${s.minimum}`,
    s.maximum !== undefined && `at most ${s.maximum}`,
    s.maxLength !== undefined && `at most ${s.maxLength} characters`,
    s.maxItems !== undefined && `at most ${s.maxItems} entries`,
    s.default !== undefined && `default ${JSON.stringify(s.default)}`,
    s.writeOnly && "never shown again",
  ].filter(Boolean);
  return [s.description, limits.length > 0 && `(${limits.join(", ")})`].filter(Boolean).join(" ");
}

/** An example of what a schema allows, with its required fields. */
export function example(spec: Spec, schema: Schema | undefined, within: string[] = []): unknown {
  if (schema?.$ref && (within.includes(schema.$ref) || within.length > deepest)) return {};
  const path = schema?.$ref ? [...within, schema.$ref] : within;
  const s = resolve(spec, schema);
  if (s.examples?.length) return s.examples[0];
  if (s.enum) return s.enum[0];
  if (s.default !== undefined) return s.default;
  switch ([s.type].flat().find((t) => t !== "null")) {
    case "array":
      return [example(spec, s.items, path)];
    case "integer":
    case "number":
      return s.minimum ?? 1;
    case "boolean":
      return true;
    case "string":
      return s.format === "date-time" ? "2026-01-31T03:10:00Z" : "text";
  }
  return Object.fromEntries(
    Object.entries(s.properties ?? {})
      .filter(([name]) => s.required?.includes(name) && name !== "$schema")
      .map(([name, property]) => [name, example(spec, property, path)]),
  );
}

/** A call to paste into a shell. The token is a variable: it must not stand in a history. */
export function curl(spec: Spec, op: Operation, origin: string): string {
  const path = op.path.replace(/\{(\w+)\}/g, (_, name: string) => `$${name.toUpperCase()}`);
  const query = op.parameters.filter((p) => p.in === "query" && p.required).map((p) => `${p.name}=${String(example(spec, p.schema))}`);
  const lines = [`curl -sS${op.method === "GET" ? "" : ` -X ${op.method}`} "${origin}${path}${query.length > 0 ? `?${query.join("&")}` : ""}"`];
  if (!op.open) lines.push(`-H "Authorization: Bearer $AKMATORI_TOKEN"`);
  if (op.body) {
    lines.push(`-H "Content-Type: application/json"`, `-d '${JSON.stringify(example(spec, op.body)).replaceAll("'", `'\\''`)}'`);
  }
  return lines.join(" \\\n  ");
}
