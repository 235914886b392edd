import { Textarea } from "@mantine/core";
import { useDeferredValue } from "react";
import { hasHidden, inertLines } from "../text/visible";
import { SafeMarkdown } from "../ui/SafeMarkdown";
import kit from "../ui/kit.module.css";
import { parts } from "./skills";
import css from "./skills.module.css";

/** A text, and how its Markdown looks. What is before it as YAML is shown as it is. */
export function Text({ label, description, value, onChange, markdown = true, required, maxLength }: {
  label: string;
  description?: string;
  value: string;
  /** None for those who may only look. */
  onChange?: (text: string) => void;
  markdown?: boolean;
  required?: boolean;
  maxLength: number;
}) {
  const { front, body } = parts(useDeferredValue(value));
  return (
    <div className={markdown ? css.text : undefined}>
      <div>
        <Textarea
          label={label}
          description={description}
          value={value}
          onChange={(e) => onChange?.(e.currentTarget.value)}
          readOnly={!onChange}
          autosize
          minRows={12}
          maxRows={28}
          maxLength={maxLength}
          required={required}
          spellCheck={false}
          classNames={{ input: kit.code }}
        />
        {hasHidden(value) && <p className={css.hidden}>This text has characters that cannot be seen. The preview shows where they are.</p>}
      </div>
      {markdown && (
        <section className={css.preview} aria-label="Preview">
          <h3>Preview</h3>
          <div tabIndex={0} role="group" aria-label="The text as it reads">
            {front && <pre className={css.front}>{inertLines(front)}</pre>}
            {body.trim() ? <SafeMarkdown text={body} /> : <p className="faint">Nothing is written yet.</p>}
          </div>
        </section>
      )}
    </div>
  );
}
