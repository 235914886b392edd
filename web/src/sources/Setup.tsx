import { Button } from "@mantine/core";
import { useQuery } from "@tanstack/react-query";
import { sources } from "../api/calls";
import type { Body, Source } from "../api/types";
import { DownloadIcon } from "../ui/icons";
import { LoadingRows, Problem, Snippet } from "../ui/parts";
import css from "./sources.module.css";
import { fileOf } from "./state";

/**
 * What the sender is configured with, to copy. The secret is in it only while
 * it is known, which is when it has just been made.
 */
export function SetupSteps({ source, secret }: { source: Source; secret?: string }) {
  const query = useQuery({ queryKey: ["sources", source.id, "setup"], queryFn: ({ signal }) => sources.setup(source.id, { signal }), staleTime: Infinity });
  if (!query.data) {
    if (query.error) return <Problem what="The sender's configuration could not be read." error={query.error} retry={() => void query.refetch()} />;
    return <LoadingRows rows={3} />;
  }
  const { items, secret_placeholder: placeholder } = query.data;
  const stands = !secret && items.some((s) => s.text.includes(placeholder));
  return (
    <div className={css.steps}>
      {stands && (
        <p className={css.help}>
          <code>{placeholder}</code> stands for the secret. It is known only when it is made: without it, make a new one below.
        </p>
      )}
      {items.map((step) => (
        <SetupStep key={step.title} step={step} text={(secret ? step.text.replaceAll(placeholder, secret) : step.text).trimEnd()} />
      ))}
    </div>
  );
}

function SetupStep({ step, text }: { step: Body<"Step">; text: string }) {
  const file = fileOf(step.title);
  return (
    <div className={css.step}>
      <h3>{step.title}</h3>
      <Snippet text={text} label={step.title} wrap={step.language === "text"} />
      {file && (
        <div>
          <Button variant="default" size="compact-sm" leftSection={<DownloadIcon size={14} />} onClick={() => save(file, text)}>
            Download {file}
          </Button>
        </div>
      )}
      {step.notes.length > 0 && (
        <ul>
          {step.notes.map((note) => (
            <li key={note}>{note}</li>
          ))}
        </ul>
      )}
    </div>
  );
}

function save(file: string, text: string): void {
  const url = URL.createObjectURL(new Blob([`${text}\n`], { type: "text/plain" }));
  const link = document.createElement("a");
  link.href = url;
  link.download = file;
  link.click();
  URL.revokeObjectURL(url);
}
