import type { Agent, Body, Runbook, Skill, SkillView } from "../api/types";

/** The file that every skill has: what it is for, and what an agent reads first. */
export const main = "SKILL.md";

/** Where a skill is from, in one word, and what that means. */
export function originOf(s: Pick<Skill, "starter" | "author" | "comment">): { word: string; means: string } {
  if (s.starter && s.author === "akmatori") return { word: "Starter", means: "It came with Akmatori." };
  if (s.starter) return { word: "Starter, edited", means: "It came with Akmatori, and people have changed it." };
  if (s.comment === "imported") return { word: "Imported", means: "It is as it was uploaded." };
  return { word: "Your own", means: "People wrote it here." };
}

/** Who wrote it, as people say it. */
export function writer(author: string): string {
  return author === "akmatori" ? "Akmatori" : author.replace(/^[a-z]+:/, "");
}

/** Which agents may read a skill: their names, or that all may. */
export function readersOf(name: string, agents: Pick<Agent, "id" | "skills">[]): "all" | string[] {
  const ids = agents.filter((a) => a.skills?.some((s) => s === "*" || s === name)).map((a) => a.id);
  return agents.length > 0 && ids.length === agents.length ? "all" : ids;
}

/** The Markdown of a text, without the YAML before it; the preview shows both apart. */
export function parts(text: string): { front: string; body: string } {
  const found = /^---\r?\n([\s\S]*?\r?\n)---[ \t]*(?:\r?\n|$)/.exec(text);
  return found ? { front: found[1] ?? "", body: text.slice(found[0].length) } : { front: "", body: text };
}

/** What somebody has changed of a skill's files, not saved yet. */
export interface Edit {
  texts: Readonly<Record<string, string>>;
  removed: readonly string[];
}

export const noEdit: Edit = { texts: {}, removed: [] };

type Files = SkillView["contents"];

const textIn = (files: Files, path: string) => files.find((f) => f.path === path)?.text;

/** The paths that a skill has with an edit, its main file first. */
export function pathsOf(files: Files, edit: Edit): string[] {
  const all = new Set([...files.map((f) => f.path), ...Object.keys(edit.texts)]);
  return [...all].filter((p) => !edit.removed.includes(p)).sort((a, b) => Number(b === main) - Number(a === main) || (a < b ? -1 : 1));
}

/** Writes a file; a text that is as it was is no change. */
export function write(files: Files, edit: Edit, path: string, text: string): Edit {
  const texts = { ...edit.texts, [path]: text };
  const was = files.find((f) => f.path === path);
  if (was && !was.binary && (was.text ?? "") === text) delete texts[path];
  return { texts, removed: edit.removed.filter((p) => p !== path) };
}

/** Takes a file away; one that was only begun is forgotten. */
export function without(files: Files, edit: Edit, path: string): Edit {
  const texts = { ...edit.texts };
  delete texts[path];
  return { texts, removed: files.some((f) => f.path === path) ? [...edit.removed.filter((p) => p !== path), path] : edit.removed };
}

/** The text of a file with an edit. */
export function textOf(files: Files, edit: Edit, path: string): string {
  return edit.texts[path] ?? textIn(files, path) ?? "";
}

export function isChanged(edit: Edit): boolean {
  return Object.keys(edit.texts).length > 0 || edit.removed.length > 0;
}

/** What is sent of an edit of a version. */
export function bodyOf(base: number, edit: Edit, comment: string): Body<"SkillEditBody"> {
  const said = comment.trim();
  return {
    base,
    files: Object.entries(edit.texts).map(([path, text]) => ({ path, text })),
    remove: [...edit.removed],
    ...(said ? { comment: said } : {}),
  };
}

/** Why a file cannot be added by this path, empty if it can. The api says the last word. */
export function wrongPath(path: string, there: readonly string[]): string {
  if (path === "") return "";
  if (path.startsWith("/") || path.endsWith("/") || path.includes("\\") || path.split("/").some((p) => p === "" || p === "." || p === "..")) {
    return "A path within the skill, such as scripts/check.sh.";
  }
  return there.includes(path) ? "There is such a file already." : "";
}

/** A skill to begin with. JSON's strings are YAML's as well. */
export function firstText(name: string, description: string): string {
  return `---\nname: ${name}\ndescription: ${JSON.stringify(description.replace(/\s+/g, " ").trim())}\n---\n\n# ${name}\n\n## What to look at first\n\n1. \n`;
}

/** A runbook as it is edited. */
export interface RunbookDraft {
  title: string;
  match: string; // one set a line
  text: string;
}

export const noRunbook: RunbookDraft = { title: "", match: "", text: "" };

export function draftOf(r: Runbook): RunbookDraft {
  return { title: r.title, match: (r.match ?? []).join("\n"), text: r.text ?? "" };
}

export function runbookBody(d: RunbookDraft): Pick<Body<"NewRunbookBody">, "title" | "match" | "text"> {
  return { title: d.title.trim(), match: d.match.split("\n").map((l) => l.trim()).filter(Boolean), text: d.text };
}

/** Why a runbook cannot be saved, empty if it can. */
export function wrongRunbook(d: RunbookDraft): string {
  if (d.title.trim() === "") return "Give it a title.";
  if (d.text.trim() === "") return "Say what to do.";
  if ((runbookBody(d).match ?? []).length > 16) return "At most 16 lines of labels.";
  return "";
}
