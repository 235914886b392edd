import { useQuery } from "@tanstack/react-query";
import { useNavigate } from "@tanstack/react-router";
import { type KeyboardEvent, useDeferredValue, useEffect, useId, useRef, useState } from "react";
import { incidents } from "../api/calls";
import { inert } from "../text/visible";
import css from "./Palette.module.css";

/** Somewhere to go. */
export interface Place {
  to: string;
  label: string;
}

/** Ctrl-K: goes to a page or an incident by a few letters. */
export function Palette({ places, searches }: { places: Place[]; searches: boolean }) {
  const dialog = useRef<HTMLDialogElement>(null);
  const [open, setOpen] = useState(false);
  useEffect(() => {
    const onKey = (event: globalThis.KeyboardEvent) => {
      if (event.key.toLowerCase() !== "k" || !(event.ctrlKey || event.metaKey) || event.altKey || event.shiftKey) return;
      event.preventDefault();
      setOpen(true);
      if (!dialog.current?.open) dialog.current?.showModal();
    };
    addEventListener("keydown", onKey);
    return () => removeEventListener("keydown", onKey);
  }, []);
  return (
    <dialog
      ref={dialog}
      className={css.palette}
      aria-label="Go to"
      onClose={() => setOpen(false)}
      onClick={(e) => e.target === dialog.current && dialog.current.close()}
    >
      {open && <Choice places={places} searches={searches} close={() => dialog.current?.close()} />}
    </dialog>
  );
}

/** The places whose words begin with the typed ones, in their order. */
export function found(places: Place[], text: string): Place[] {
  const words = text.toLowerCase().split(/\s+/).filter(Boolean);
  return places.filter((p) => {
    const has = p.label.toLowerCase().split(/\s+/);
    return words.every((w) => has.some((h) => h.startsWith(w)));
  });
}

const none = { items: [] };

function Choice({ places, searches, close }: { places: Place[]; searches: boolean; close: () => void }) {
  const [text, setText] = useState("");
  const [chosen, setChosen] = useState(0);
  const navigate = useNavigate();
  const id = useId();
  const wanted = useDeferredValue(text.trim());
  const number = /^#?(\d{1,15})$/.exec(wanted)?.[1];
  const query = useQuery({
    queryKey: ["palette", wanted],
    enabled: searches && (wanted.length > 1 || number !== undefined),
    staleTime: 10_000,
    queryFn: async ({ signal }) => {
      // A number is what an incident is called by, before it is a word of others.
      const lists = await Promise.all([
        number ? incidents.list({ q: `#${number}`, limit: 1 }, { signal }) : none,
        wanted.length > 1 ? incidents.list({ q: wanted, limit: 6 }, { signal }) : none,
      ]);
      return [...new Map(lists.flatMap((l) => l.items).map((i) => [i.id, i])).values()];
    },
  });
  const pages = found(places, text);
  const items = [
    ...pages.map((p) => ({ key: p.to, to: p.to, label: p.label, more: "" })),
    ...(query.data ?? []).map((i) => ({
      key: i.id,
      to: `/incidents/${i.number}`,
      label: `#${i.number} ${inert(i.title)}`,
      more: `${i.severity}, ${i.status}`,
    })),
  ];
  const at = Math.min(chosen, items.length - 1);
  const go = (to: string) => {
    close();
    void navigate({ to });
  };
  const onKey = (event: KeyboardEvent) => {
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (step && items.length > 0) {
      event.preventDefault();
      setChosen((at + step + items.length) % items.length);
    } else if (event.key === "Enter" && items[at]) {
      event.preventDefault();
      go(items[at].to);
    }
  };
  return (
    <>
      <input
        className={css.input}
        autoFocus
        role="combobox"
        aria-expanded="true"
        aria-controls={id}
        aria-activedescendant={items[at] ? `${id}-${at}` : undefined}
        aria-label="Page or incident"
        placeholder="A page, or words of an incident"
        value={text}
        onChange={(e) => {
          setText(e.currentTarget.value);
          setChosen(0);
        }}
        onKeyDown={onKey}
      />
      <ul id={id} role="listbox" aria-label="Found" className={css.list}>
        {items.map((item, n) => (
          <li
            key={item.key}
            id={`${id}-${n}`}
            role="option"
            aria-selected={n === at}
            className={css.item}
            onMouseMove={() => setChosen(n)}
            onClick={() => go(item.to)}
          >
            <span>{item.label}</span> <span className="faint">{item.more}</span>
          </li>
        ))}
      </ul>
      {items.length === 0 && (
        <p className={css.none} role="status">
          {query.isFetching ? "Looking …" : "Nothing has these words."}
        </p>
      )}
    </>
  );
}
