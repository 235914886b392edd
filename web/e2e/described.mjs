// What the api's own description (openapi.json) says of a call: the smallest
// answer that fits it, made up, and whether an answer fits it. The fake api answers
// by it whatever it has no data for, so that it cannot lag behind the pages.
import { readFileSync } from "node:fs";

export const text = readFileSync(new URL("../openapi.json", import.meta.url), "utf8");
const document = JSON.parse(text);
const calls = Object.entries(document.paths).flatMap(([path, methods]) =>
  Object.entries(methods).map(([method, operation]) => ({
    method: method.toUpperCase(),
    pattern: new RegExp(`^${path.replace(/\{(\w+)\}/g, "(?<$1>[^/]+)")}$`),
    fixed: !path.includes("{"),
    query: new Set((operation.parameters ?? []).filter((p) => p.in === "query").map((p) => p.name)),
    answers: operation.responses,
  })),
);

/**
 * The call that a request is, as {schema, status, names, paged, unknown}; undefined if
 * the api has none. names are the parts of its path, unknown the queries it does not take.
 */
export function describe(method, path, query = new URLSearchParams()) {
  const fitting = calls.filter((c) => c.method === method && c.pattern.test(path));
  const call = fitting.find((c) => c.fixed) ?? fitting[0];
  if (!call) return undefined;
  const status = Object.keys(call.answers).find((s) => s.startsWith("2")) ?? "204";
  return {
    status: Number(status),
    schema: call.answers[status]?.content?.["application/json"]?.schema,
    names: call.pattern.exec(path).groups ?? {},
    paged: call.query.has("cursor"),
    unknown: [...query.keys()].filter((name) => !call.query.has(name)),
  };
}

const minute = 60_000;
const resolve = (schema) => (schema.$ref ? document.components.schemas[schema.$ref.split("/").pop()] : schema);
const nameOf = (schema) => schema.$ref?.split("/").pop() ?? "";
const typeOf = (schema) => (Array.isArray(schema.type) ? schema.type.find((t) => t !== "null") : schema.type);

/**
 * A value that fits. names are what parts of it are called, such as the id that
 * was asked for; rows is how many items a list has, and like gives what items of
 * a schema look like beyond what they must have.
 */
export function sample(schema, { names = {}, rows = 0, from = 0, like = {} } = {}, name = "", n = 0, depth = 0) {
  const is = resolve(schema);
  const more = like[nameOf(schema)];
  const inner = (s, key, i = n) => sample(s, { names, rows, from, like }, key, i, depth + 1);
  if (is.enum) return is.enum[n % is.enum.length];
  switch (typeOf(is)) {
    case "object":
      return {
        ...Object.fromEntries(Object.entries(is.properties ?? {}).filter(([key]) => is.required?.includes(key)).map(([key, value]) => [key, inner(value, key)])),
        ...(more ? more(n) : {}),
      };
    case "array":
      return depth === 1 && name === "items" ? Array.from({ length: rows }, (_, i) => inner(is.items, "", from + i)) : [];
    case "integer":
    case "number":
      return is.minimum ?? 0;
    case "boolean":
      return false;
    case "string":
      if (is.format === "date-time") return new Date(Date.now() - (n + 1) * minute).toISOString();
      if (depth === 1 && names[name] !== undefined) return names[name];
      return ["id", "name", "slug", "title", "username"].includes(name) ? `${name}-${n}` : "";
    default:
      return {};
  }
}

/** The value with whatever else it must have, made up. */
export function completed(schema, value) {
  const is = resolve(schema);
  if (Array.isArray(value)) return is.items ? value.map((item) => completed(is.items, item)) : value;
  if (typeof value !== "object" || value === null || !is.properties) return value;
  const given = Object.entries(value).map(([key, v]) => [key, is.properties[key] ? completed(is.properties[key], v) : v]);
  return { ...sample(is), ...Object.fromEntries(given) };
}

/** What the api would not give in a value, as sentences. */
export function misfits(schema, value, at = "answer", depth = 0) {
  const is = resolve(schema);
  if (value === null || value === undefined || depth > 6) return [];
  if (is.enum && value !== "" && !is.enum.includes(value)) return [`${at} is ${JSON.stringify(value)}`];
  const type = typeOf(is);
  const has = Array.isArray(value) ? "array" : typeof value;
  if (type && (type === "integer" ? "number" : type) !== has) return [`${at} is no ${type} but ${has}`];
  if (has === "array") return value.slice(0, 3).flatMap((item, i) => misfits(is.items ?? {}, item, `${at}[${i}]`, depth + 1));
  if (has !== "object" || !is.properties) return [];
  return Object.entries(value).flatMap(([key, part]) => {
    if (is.properties[key]) return misfits(is.properties[key], part, `${at}.${key}`, depth + 1);
    return part !== undefined && is.additionalProperties === false ? [`${at} has ${key}, which the api does not give`] : [];
  });
}
