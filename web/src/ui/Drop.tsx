import { Button } from "@mantine/core";
import { type ReactNode, useEffect, useId, useRef, useState } from "react";
import { ChevronIcon } from "./icons";
import css from "./Drop.module.css";

/**
 * A button that opens a panel below itself. Escape and a press elsewhere close
 * it, and the focus goes back to the button. What is in it gets the function
 * that closes it.
 */
export function Drop({ label, title, subtle, children }: { label: ReactNode; title?: string; subtle?: boolean; children: (close: () => void) => ReactNode }) {
  const [open, setOpen] = useState(false);
  const box = useRef<HTMLDivElement>(null);
  const button = useRef<HTMLButtonElement>(null);
  const id = useId();
  const close = () => {
    setOpen(false);
    if (box.current?.contains(document.activeElement)) button.current?.focus();
  };
  useEffect(() => {
    if (!open) return;
    const away = (event: PointerEvent) => {
      if (event.target instanceof Node && !box.current?.contains(event.target)) setOpen(false);
    };
    const escape = (event: KeyboardEvent) => {
      if (event.key !== "Escape" || event.defaultPrevented) return;
      event.preventDefault();
      setOpen(false);
      button.current?.focus();
    };
    addEventListener("pointerdown", away);
    addEventListener("keydown", escape);
    return () => {
      removeEventListener("pointerdown", away);
      removeEventListener("keydown", escape);
    };
  }, [open]);
  return (
    <div ref={box} className={css.drop}>
      <Button
        ref={button}
        variant={subtle ? "subtle" : "default"}
        color={subtle ? "gray" : undefined}
        size="sm"
        title={title}
        aria-expanded={open}
        aria-controls={open ? id : undefined}
        rightSection={
          <span className={css.mark}>
            <ChevronIcon size={12} />
          </span>
        }
        onClick={() => setOpen(!open)}
      >
        {label}
      </Button>
      {open && (
        <div id={id} className={css.panel}>
          {children(close)}
        </div>
      )}
    </div>
  );
}
