import { Button } from "@mantine/core";
import { useMutation, useQuery } from "@tanstack/react-query";
import { useState } from "react";
import { inert, inertLines } from "../text/visible";
import { Ago, LoadingRows, Problem, Scroll, Snippet } from "../ui/parts";
import { Chip } from "../ui/state";
import { writer } from "./skills";
import css from "./skills.module.css";

interface Version {
  version: number;
  current: boolean;
  author: string;
  comment?: string;
  created_at: string;
}

interface VersionsProps {
  /** Of the list; what is read of one version is kept below it. */
  name: readonly [string, string];
  list: (o: { signal?: AbortSignal }) => Promise<Version[]>;
  read: (version: number, o: { signal?: AbortSignal }) => Promise<string>;
  use: (version: number) => Promise<unknown>;
  may: boolean;
}

/** What is kept of a text: each can be read, and made the current one again. */
export function Versions({ name, list, read, use, may }: VersionsProps) {
  const query = useQuery({ queryKey: [...name, "versions"], queryFn: list });
  const [open, setOpen] = useState(0);
  const back = useMutation({ mutationFn: use });
  return (
    <section className={css.section} aria-label="Versions">
      <h2>Versions</h2>
      <p className={css.help}>Each save makes one. Going back loses nothing: the newer ones stay until they are too many.</p>
      {back.error && <Problem what="It was not changed." error={back.error} />}
      {query.error && !query.data ? (
        <Problem what="The versions could not be read." error={query.error} retry={() => void query.refetch()} />
      ) : !query.data ? (
        <LoadingRows rows={2} />
      ) : (
        <ol className={css.versions}>
          {query.data.map((v) => (
            <li key={v.version}>
              <div>
                <strong>Version {v.version}</strong> {v.current && <Chip tone="good">Current</Chip>}
                <span className={css.by}>
                  by {inert(writer(v.author))} <Ago at={v.created_at} suffix=" ago" plain />
                  {v.comment && <>: {inert(v.comment)}</>}
                </span>
              </div>
              <div className={css.acts}>
                <Button variant="default" size="compact-sm" aria-expanded={open === v.version} aria-label={`${open === v.version ? "Close" : "Read"} version ${v.version}`} onClick={() => setOpen(open === v.version ? 0 : v.version)}>
                  {open === v.version ? "Close" : "Read"}
                </Button>
                {may && !v.current && (
                  <Button variant="default" size="compact-sm" loading={back.isPending && back.variables === v.version} onClick={() => back.mutate(v.version)}>
                    Go back to version {v.version}
                  </Button>
                )}
              </div>
              {open === v.version && <One name={name} version={v.version} read={read} />}
            </li>
          ))}
        </ol>
      )}
    </section>
  );
}

function One({ name, version, read }: Pick<VersionsProps, "name" | "read"> & { version: number }) {
  const query = useQuery({ queryKey: [...name, "versions", version], queryFn: ({ signal }) => read(version, { signal }) });
  if (query.error) return <Problem what="The version could not be read." error={query.error} retry={() => void query.refetch()} />;
  return (
    <Scroll label={`The text of version ${version}`} className={css.one}>
      {query.data === undefined ? <LoadingRows rows={3} /> : <Snippet text={inertLines(query.data)} label={`Version ${version}`} wrap />}
    </Scroll>
  );
}
