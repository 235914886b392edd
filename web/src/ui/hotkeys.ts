import { useEffect, useRef } from "react";
import { type Answers, keys } from "./keys";

/** What each key of a part of the table does now, if anything. */
export type Hotkeys<A extends Answers> = { [K in keyof (typeof keys)[A]]: (() => void) | undefined };

/** How long after the first key of a sequence the second one is pressed at the latest, in ms. */
const together = 1_000;

const sequences = Object.values(keys).flatMap((of) => Object.keys(of).filter((name) => name.includes(" ")));

/**
 * Names the keys that are pressed one after the other as the table does. When a
 * key was pressed counts, not when a busy page came to it.
 */
export function reader(): (key: string, at: number) => string {
  let first: { key: string; at: number } | undefined;
  return (key, at) => {
    const both = first && at - first.at <= together ? `${first.key} ${key}` : "";
    const name = sequences.includes(both) ? both : key;
    first = name === key && sequences.some((s) => s.startsWith(`${key} `)) ? { key, at } : undefined;
    return name;
  };
}

// All who answer keys hear the same name: the second key of "g i" is not also
// the "i" of the incident below.
const answering = new Set<(name: string) => boolean>();
const read = reader();

function onKey(event: KeyboardEvent): void {
  if (event.defaultPrevented || event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.repeat && event.key !== "j" && event.key !== "k") return; // held down it is one press, and only moves go on
  const on = event.target;
  if (on instanceof HTMLElement && on.closest("input:not([type=checkbox], [type=radio]), textarea, select, [contenteditable]")) return;
  if (document.querySelector("dialog[open]")) return; // who reads what a key does must not do it
  const name = read(event.key, event.timeStamp);
  for (const answer of answering)
    if (answer(name)) {
      event.preventDefault();
      return;
    }
}

/** Single keys work wherever nobody is typing; a modifier leaves the key to the browser. */
export function useHotkeys<A extends Answers>(_: A, actions: Hotkeys<A> | undefined): void {
  const current = useRef<Record<string, (() => void) | undefined>>({});
  useEffect(() => {
    current.current = { ...actions };
  });
  useEffect(() => {
    const answer = (name: string) => {
      const run = current.current[name];
      run?.();
      return run !== undefined;
    };
    answering.add(answer);
    addEventListener("keydown", onKey); // once, however often it is asked for
    return () => {
      answering.delete(answer);
      if (answering.size === 0) removeEventListener("keydown", onKey);
    };
  }, []);
}
