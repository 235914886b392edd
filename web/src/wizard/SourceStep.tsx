import { Button, Loader, NativeSelect, TextInput } from "@mantine/core";
import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { Link } from "@tanstack/react-router";
import { useState } from "react";
import { sources } from "../api/calls";
import type { Setup, Source } from "../api/types";
import { nameField, Once, text } from "../settings/settings";
import { sourceKinds } from "../settings/sources";
import { theirs, TheirSecret } from "../sources/Secret";
import { SetupSteps } from "../sources/Setup";
import { TestEvent } from "../sources/TestEvent";
import { inert } from "../text/visible";
import { Form } from "../ui/form";
import { Ago, LoadingRows, Problem } from "../ui/parts";
import css from "./wizard.module.css";

/** A source, its sender's configuration, and the first that arrives. */
export function SourceStep({ state }: { state: Setup }) {
  const [made, setMade] = useState<Source>(); // with its secret, which is known only now
  if (!state.source.id) return <NewSource made={setMade} />;
  return <Connected key={state.source.id} state={state} secret={made?.id === state.source.id ? made.secret : undefined} />;
}

function NewSource({ made }: { made: (source: Source) => void }) {
  const client = useQueryClient();
  const [kind, setKind] = useState("alertmanager");
  const create = useMutation({
    mutationFn: sources.create,
    onSuccess: (source) => {
      made(source);
      void client.invalidateQueries({ queryKey: ["sources"] });
      return client.invalidateQueries({ queryKey: ["setup-state"] });
    },
  });
  const submit = (form: FormData) => create.mutate({ name: text(form, "name"), kind });
  return (
    <Form className={css.part} submit={submit} label="New source">
      <div className={css.fields}>
        <NativeSelect label="What sends alerts" value={kind} onChange={(e) => setKind(e.currentTarget.value)} data={sourceKinds.map(({ value, label }) => ({ value, label }))} />
        <TextInput {...nameField} key={kind} autoFocus={false} defaultValue={kind} />
      </div>
      {create.error && <Problem what="Nothing was saved." error={create.error} />}
      <div>
        <Button type="submit" loading={create.isPending}>
          Make the source
        </Button>
      </div>
    </Form>
  );
}

function Connected({ state, secret }: { state: Setup; secret?: string }) {
  const id = state.source.id ?? "";
  const query = useQuery({ queryKey: ["sources", id], queryFn: ({ signal }) => sources.get(id, { signal }) });
  const source = query.data;
  if (!source) {
    if (query.error) return <Problem what="The source could not be read." error={query.error} retry={() => void query.refetch()} />;
    return <LoadingRows rows={4} />;
  }
  return (
    <>
      <div className={css.part}>
        {secret && !theirs(source) && <Once>The secret below is shown only now. It cannot be read again, only replaced.</Once>}
        <SetupSteps source={source} secret={secret} />
        {theirs(source) && <TheirSecret source={source} />}
        <p className={css.dim}>
          A new secret, its health and what could not be read:{" "}
          <Link to="/sources/$id" params={{ id }}>
            {inert(source.name)}
          </Link>
          .
        </p>
      </div>
      <div className={css.part}>
        <h3>The first alert</h3>
        <div className={css.waits} role="status">
          {state.source.state === "done" ? (
            <span>
              <span className={css.good}>✓ Something has arrived</span>, <Ago at={state.source.at} suffix=" ago" plain />.
            </span>
          ) : (
            <>
              <Loader size="xs" aria-hidden="true" /> Waiting for the first alert. This page sees it by itself.
            </>
          )}
        </div>
        <p className={css.dim}>No alert at hand? A test event goes the same way.</p>
        <TestEvent source={source} />
      </div>
    </>
  );
}
