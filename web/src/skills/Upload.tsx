import { Button } from "@mantine/core";
import { useMutation, useQueryClient } from "@tanstack/react-query";
import { Link } from "@tanstack/react-router";
import { useId, useState } from "react";
import { skills } from "../api/calls";
import { inert } from "../text/visible";
import { Form } from "../ui/form";
import { Problem } from "../ui/parts";
import css from "./skills.module.css";

/** Takes skills from an archive, and says what became of each. */
export function Upload({ close }: { close: () => void }) {
  const [file, setFile] = useState<File | null>(null);
  const id = useId();
  const client = useQueryClient();
  const send = useMutation({
    mutationFn: (f: File) => skills.upload(f),
    // Of several, those before one that is refused are there.
    onSettled: () => client.invalidateQueries({ queryKey: ["skills"] }),
  });
  return (
    <Form className={css.form} label="Upload skills" onKeyDown={(e) => e.key === "Escape" && close()} submit={() => file && send.mutate(file)}>
      <h2>Upload skills</h2>
      <div className={css.file}>
        <label htmlFor={id}>Archive</label>
        <p id={`${id}-help`}>
          A .zip or .tar.gz. Each folder in it that has a SKILL.md is a skill. One that is here already gets a new version; you can go back.
        </p>
        <input
          id={id}
          type="file"
          accept=".zip,.tar.gz,.tgz,application/zip,application/gzip"
          aria-describedby={`${id}-help`}
          required
          onChange={(e) => {
            send.reset();
            setFile(e.currentTarget.files?.[0] ?? null);
          }}
        />
      </div>
      <p className={css.help}>Agents follow what a skill says, as far as their rules allow it. Read what you have not written before you upload it.</p>
      {send.error && <Problem what="The archive was not taken as a whole." error={send.error} />}
      {send.data && (
        <div role="status">
          <ul className={css.taken} aria-label="What was uploaded">
            {send.data.map((s) => (
              <li key={s.name}>
                <Link to="/skills/$name" params={{ name: s.name }}>
                  {inert(s.name)}
                </Link>{" "}
                {s.stored ? `is version ${s.version} now.` : `is unchanged: these files are its version ${s.version} already.`}
              </li>
            ))}
          </ul>
        </div>
      )}
      <div className={css.acts}>
        <Button type="submit" loading={send.isPending} disabled={!file || send.isSuccess}>
          Upload
        </Button>
        <Button variant="default" onClick={close}>
          {send.isSuccess ? "Close" : "Cancel"}
        </Button>
      </div>
    </Form>
  );
}
