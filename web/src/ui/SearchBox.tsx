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

/** Typing searches after a moment of rest. */
export function SearchBox({ ref, value, onChange, label, placeholder, className, rest }: Props) {
  const [text, setText] = useState(value);
  const [from, setFrom] = useState(value);
  const [sent, setSent] = useState(value);
  if (from !== value) {
    setFrom(value);
    // The address changed from elsewhere, such as the back button. What was typed
    // here stays: there may be more of it by now, if only a space.
    if (value !== sent) setText(value);
  }
  const changed = useRef(onChange);
  useEffect(() => {
    changed.current = onChange;
  });
  useEffect(() => {
    if (text.trim() === value) return;
    const id = setTimeout(() => {
      setSent(text.trim());
      changed.current(text.trim());
    }, rest);
    return () => clearTimeout(id);
  }, [text, value, rest]);
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
      onKeyDown={(e) => e.key === "Escape" && e.currentTarget.blur()}
    />
  );
}
