import { Button, Textarea, TextInput } from "@mantine/core";
import { useMutation } from "@tanstack/react-query";
import { type ReactNode, useState } from "react";
import type { Runbook } from "../api/types";
import { Form } from "../ui/form";
import kit from "../ui/kit.module.css";
import { Problem } from "../ui/parts";
import { type RunbookDraft, wrongRunbook } from "./skills";
import css from "./skills.module.css";
import { Text } from "./Text";

/** A runbook to be written, with how it reads beside it. */
export function RunbookForm({ title, draft, save, then, close, said, readOnly }: {
  title: string;
  draft: RunbookDraft;
  save: (d: RunbookDraft) => Promise<Runbook>;
  then: (now: Runbook) => unknown;
  /** For a form that goes away; else its changes can be discarded. */
  close?: () => void;
  said?: ReactNode;
  readOnly?: boolean;
}) {
  const [d, setDraft] = useState(draft);
  const act = useMutation({ mutationFn: save, onSuccess: then });
  const dirty = JSON.stringify(d) !== JSON.stringify(draft);
  const problem = wrongRunbook(d);
  return (
    <Form className={css.fields} label={title} submit={() => act.mutate(d)}>
      <TextInput
        label="Title"
        description="What happens, in the words of the alert: its words are looked for among those of an incident."
        placeholder="Disk is full on a database host"
        value={d.title}
        onChange={(e) => setDraft({ ...d, title: e.currentTarget.value })}
        maxLength={200}
        required
        readOnly={readOnly}
      />
      <Textarea
        label="Match labels"
        description="Matchers as in grouping rules, one set a line: it fits an alert that has all of one line. Empty: only its words count."
        placeholder={'service="payments", severity=~"high|critical"\nalertname="DiskFull"'}
        value={d.match}
        onChange={(e) => setDraft({ ...d, match: e.currentTarget.value })}
        autosize
        minRows={2}
        maxRows={8}
        maxLength={20_000}
        spellCheck={false}
        readOnly={readOnly}
        classNames={{ input: kit.code }}
      />
      <Text
        label="What to do"
        description="Markdown. Say what to look at first, what it can be, and whom to call."
        value={d.text}
        onChange={readOnly ? undefined : (text) => setDraft({ ...d, text })}
        required
        maxLength={65_536}
      />
      {!readOnly && (
        <>
          {dirty && problem && <p className="dim">{problem}</p>}
          {act.error && <Problem what="Nothing was saved." error={act.error} />}
          <div className={css.acts}>
            <Button type="submit" loading={act.isPending} disabled={!dirty || problem !== ""}>
              {close ? "Save" : "Save as a new version"}
            </Button>
            {close ? (
              <Button variant="default" onClick={close}>
                Cancel
              </Button>
            ) : (
              dirty && (
                <Button variant="default" onClick={() => setDraft(draft)}>
                  Discard
                </Button>
              )
            )}
            {!dirty && said}
          </div>
        </>
      )}
    </Form>
  );
}
