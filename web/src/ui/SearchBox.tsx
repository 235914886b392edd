import { TextInput } from "@mantine/core";
import { useEffect, useRef, useState } from "react";
import { SearchIcon } from "./icons";

interface Props {
  ref: React.RefObject<HTMLInputElement | null>;
  value: string;
  onChange: (words: string) => void;
  label: string;
  placeholder: string;
  className: string | undefined;
  /** Milliseconds of rest before a search. */
  rest: number;
}

/** Typing searches after a moment of rest, unless the page is left before. */
export function SearchBox({ ref, value, onChange, label, placeholder, className, rest }: Props) {
  const [text, setText] = useState(value);
  const [from, setFrom] = useState(value);
  const [sent, setSent] = useState<string[]>([]);
  if (from !== value) {
    setFrom(value);
    // What was sent comes back as the address, on a busy page when there is more
    // already, and what was typed since stays, if only a space. Other words are
    // from elsewhere, such as the back button.
    const ours = sent.indexOf(value);
    setSent(ours < 0 ? [] : sent.slice(ours + 1));
    if (ours < 0) setText(value);
  }
  const changed = useRef(onChange);
  useEffect(() => {
    changed.current = onChange;
  });
  const [here] = useState(() => location.pathname);
  useEffect(() => {
    const words = text.trim();
    if (words === (sent.at(-1) ?? value)) return;
    const id = setTimeout(() => {
      if (location.pathname !== here) return; // the next page is on its way
      setSent([...sent, words]);
      changed.current(words);
    }, rest);
    return () => clearTimeout(id);
  }, [text, sent, value, rest, here]);
  return (
    <TextInput
      ref={ref}
      className={className}
      type="search"
      aria-label={label}
      placeholder={placeholder}
      leftSection={<SearchIcon />}
      maxLength={200}
      value={text}
      onChange={(e) => setText(e.currentTarget.value)}
      onKeyDown={(e) => {
        if (e.key !== "Escape") return;
        e.preventDefault(); // some browsers would empty it: one leaves it to go through what was found
        e.currentTarget.blur();
      }}
    />
  );
}
