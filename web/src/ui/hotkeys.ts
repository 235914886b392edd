import { useEffect, useRef } from "react";
import type { Answers, keys } from "./keys";

/** What each key of a part of the table does now, if anything. */
export type Hotkeys<A extends Answers> = { [K in keyof (typeof keys)[A]]: (() => void) | undefined };

/** Single keys work wherever nobody is typing; a modifier leaves the key to the browser. */
export function useHotkeys<A extends Answers>(_: A, actions: Hotkeys<A> | undefined): void {
  const current = useRef<Record<string, (() => void) | undefined>>({});
  useEffect(() => {
    current.current = { ...actions };
  });
  useEffect(() => {
    let first = "";
    let forget: ReturnType<typeof setTimeout> | undefined;
    const onKey = (event: KeyboardEvent) => {
      if (event.defaultPrevented || event.ctrlKey || event.metaKey || event.altKey) return;
      const on = event.target;
      if (on instanceof HTMLElement && on.closest("input:not([type=checkbox], [type=radio]), textarea, select, [contenteditable]")) return;
      const run = current.current[first ? `${first} ${event.key}` : event.key] ?? current.current[event.key];
      const starts = Object.keys(current.current).some((name) => name.startsWith(`${event.key} `));
      clearTimeout(forget);
      first = starts && !run ? event.key : "";
      if (first) forget = setTimeout(() => (first = ""), 1000);
      if (run) {
        event.preventDefault();
        run();
      }
    };
    addEventListener("keydown", onKey);
    return () => {
      clearTimeout(forget);
      removeEventListener("keydown", onKey);
    };
  }, []);
}
