/**
 * Calls of the tools for files of an agent's workspace, in words. `line` is for
 * one line; `whole` says all that the call does, and nothing that stands in a
 * file can look like another part of it: each line of it has a mark before it.
 */
export interface FileCall {
  line: string;
  whole: string;
}

const quoted = (text: string) => JSON.stringify(text);

/** Lines of a file as a diff has them, with whether the last one ends. */
function marked(mark: "+" | "-", text: string): string {
  if (text === "") return "";
  const open = !text.endsWith("\n");
  const lines = (open ? text : text.slice(0, -1)).split("\n");
  return lines.map((l) => `\n${mark} ${l}`).join("") + (open ? "\n\\ no line break at the end" : "");
}

/** What a call of one of these tools does; undefined for all others, and for arguments that are not as they should be. */
export function fileCall(tool: string, args: unknown): FileCall | undefined {
  if (typeof args !== "object" || args === null || !Object.hasOwn(known, tool)) return undefined;
  const given = args as Record<string, unknown>;
  const fields = known[tool] ?? {};
  for (const [name, value] of Object.entries(given)) if (fields[name] !== typeof value) return undefined;
  const text = (name: string) => {
    const value = given[name];
    return typeof value === "string" ? value : "";
  };
  const path = text("path") || "work/";
  const more = Object.entries(given)
    .filter(([name]) => !["path", "pattern", "content", "old_string", "new_string"].includes(name))
    .map(([name, value]) => `, ${name.replaceAll("_", " ")} ${typeof value === "string" ? quoted(value) : String(value)}`)
    .join("");
  switch (tool) {
    case "Read":
      return both(`read ${path}${more}`);
    case "Grep":
      return both(`search ${quoted(text("pattern"))} in ${path}${more}`);
    case "Glob":
      return both(`list ${quoted(text("pattern"))} below ${path}${more}`);
    case "Write":
      return { line: `write ${path}`, whole: `write ${path}, as a whole${marked("+", text("content")) || "\n(nothing)"}` };
    case "Edit":
      return { line: `edit ${path}`, whole: `edit ${path}${marked("-", text("old_string"))}${marked("+", text("new_string"))}` };
  }
  return undefined;
}

const both = (line: string): FileCall => ({ line, whole: line });

/** The arguments of each tool, with their types. */
const known: Record<string, Record<string, string>> = {
  Read: { path: "string", offset: "number", limit: "number" },
  Grep: { path: "string", pattern: "string", glob: "string", ignore_case: "boolean", context: "number", limit: "number" },
  Glob: { path: "string", pattern: "string" },
  Write: { path: "string", content: "string" },
  Edit: { path: "string", old_string: "string", new_string: "string" },
};
