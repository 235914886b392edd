import { Textarea, TextInput } from "@mantine/core";
import { useMutation } from "@tanstack/react-query";
import { type ReactNode, useState } from "react";
import { Ends, Form } from "../ui/form";
import { bounds, type Draft, wrong } from "./memory";
import css from "./memory.module.css";

/** What somebody confirms, in their words if they like. */
export function MemoryForm({ title, head, draft, save, then, close }: {
  title: string;
  head: ReactNode;
  draft: Draft;
  save: (d: Draft) => Promise<unknown>;
  then: () => void;
  close: () => void;
}) {
  const [d, setDraft] = useState(draft);
  const set = (name: keyof Draft) => (e: { currentTarget: { value: string } }) => setDraft({ ...d, [name]: e.currentTarget.value });
  const act = useMutation({ mutationFn: save, onSuccess: then });
  const problem = wrong(d);
  return (
    <Form className={css.form} label={title} onKeyDown={(e) => e.key === "Escape" && close()} submit={() => act.mutate(d)}>
      {head}
      <Textarea label="How it shows" value={d.pattern} onChange={set("pattern")} maxLength={bounds.text} autosize minRows={2} maxRows={10} required autoFocus />
      <Textarea label="What it was" value={d.cause} onChange={set("cause")} maxLength={bounds.text} autosize minRows={2} maxRows={10} required />
      <Textarea label="What ended it" value={d.fix} onChange={set("fix")} maxLength={bounds.fix} autosize minRows={2} maxRows={12} />
      <div className={css.pair}>
        <TextInput label="Service" description="Empty: of any service." value={d.service} onChange={set("service")} maxLength={bounds.service} spellCheck={false} autoCapitalize="none" />
        <TextInput label="Days that it is offered" description={draft.days === "" ? "From now on; 0 is for ever. Empty: as it is." : "0 is for ever."} value={d.days} onChange={set("days")} inputMode="numeric" maxLength={4} />
      </div>
      <Textarea label="Only where alerts have these labels" description="key:value, one a line. Empty: everywhere." value={d.labels} onChange={set("labels")} autosize minRows={1} maxRows={10} maxLength={2200} spellCheck={false} />
      {problem && <p className="dim">{problem}</p>}
      <Ends of={act} what="It was not saved." disabled={problem !== ""} close={close} className={css.buttons} />
    </Form>
  );
}
