import { TextInput } from "@mantine/core";
import { useQuery } from "@tanstack/react-query";
import { useDeferredValue, useMemo, useState } from "react";
import { ApiError } from "../api/client";
import { Empty, LoadingRows, Page, Problem, Snippet } from "../ui/parts";
import css from "./docs.module.css";
import { curl, example, type Field, fields, matches, type Operation, operations, type Schema, type Spec, typeName } from "./openapi";

/** The API, from its own description: what there is, what each call takes and gives. */
export function DocsPage() {
  const [search, setSearch] = useState("");
  const wanted = useDeferredValue(search.trim());
  const query = useQuery({
    queryKey: ["openapi"],
    staleTime: Infinity,
    queryFn: async ({ signal }): Promise<Spec> => {
      const answer = await fetch("/openapi.json", { signal });
      if (!answer.ok) throw new ApiError(answer.status, `The server answered ${answer.status}.`);
      return (await answer.json()) as Spec;
    },
  });
  const all = useMemo(() => (query.data ? operations(query.data) : []), [query.data]);
  const shown = useMemo(
    () => all.map(([tag, ops]): [string, Operation[]] => [tag, ops.filter((o) => matches(o, wanted))]).filter(([, ops]) => ops.length > 0),
    [all, wanted],
  );
  return (
    <Page
      title="API"
      lead={
        <>
          Everything that this page does is a call that you can make as well, with an <a className={css.link} href="/tokens">
            API token
          </a>. The description for programs is{" "}
          <a className={css.link} href="/openapi.json">
            openapi.json
          </a>.
        </>
      }
    >
      {query.error && <Problem what="The description could not be loaded." error={query.error} retry={() => void query.refetch()} />}
      {query.isPending && <LoadingRows rows={10} />}
      {query.data && (
        <>
          <TextInput
            className={css.search}
            label="Find a call"
            placeholder="incidents, POST, secret …"
            value={search}
            onChange={(e) => setSearch(e.currentTarget.value)}
          />
          {shown.length === 0 && <Empty title="No call has all of these words" />}
          {shown.map(([tag, ops]) => (
            <section key={tag} className={css.tag} aria-label={tag}>
              <h2>{tag}</h2>
              {ops.map((op) => (
                <Call key={op.id} spec={query.data} op={op} />
              ))}
            </section>
          ))}
        </>
      )}
    </Page>
  );
}

/** One operation; its parts are made when it is opened. */
function Call({ spec, op }: { spec: Spec; op: Operation }) {
  const [open, setOpen] = useState(location.hash === `#${op.id}`);
  return (
    <details id={op.id} className={css.call} open={open} onToggle={(e) => setOpen(e.currentTarget.open)}>
      <summary>
        <span className={css.method} data-method={op.method}>
          {op.method}
        </span>
        <code>{op.path}</code>
        <span className={css.summary}>{op.summary}</span>
      </summary>
      {open && <Details spec={spec} op={op} />}
    </details>
  );
}

function Details({ spec, op }: { spec: Spec; op: Operation }) {
  return (
    <div className={css.details}>
      {op.description && <p>{op.description}</p>}
      {op.open && <p>Nobody needs to be signed in for it.</p>}
      <Snippet text={curl(spec, op, location.origin)} />
      {op.parameters.length > 0 && (
        <Fields
          title="Parameters"
          all={op.parameters.map((p) => ({
            name: p.name,
            type: `${typeName(spec, p.schema)}, in the ${p.in}`,
            required: p.required ?? false,
            text: p.description ?? p.schema?.description ?? "",
          }))}
        />
      )}
      {op.body && <Fields title="Body" all={fields(spec, op.body)} />}
      {op.answers.map((a) => (
        <Answer key={a.status} spec={spec} status={a.status} schema={a.schema} type={a.type} />
      ))}
    </div>
  );
}

function Answer({ spec, status, schema, type }: { spec: Spec; status: string; schema?: Schema; type: string }) {
  if (status === "default") return null; // a problem document: the same everywhere
  const inside = fields(spec, schema);
  return (
    <>
      <Fields title={`Answer ${status}${type && type !== "application/json" ? `, ${type}` : ""}`} all={inside} nothing={schema ? "" : "No body."} />
      {inside.length > 0 && (
        <details className={css.example}>
          <summary>An example</summary>
          <Snippet text={JSON.stringify(example(spec, schema), null, 2)} />
        </details>
      )}
    </>
  );
}

function Fields({ title, all, nothing }: { title: string; all: Field[]; nothing?: string }) {
  return (
    <>
      <h3>{title}</h3>
      {all.length === 0 && <p className="dim">{nothing}</p>}
      {all.length > 0 && (
        <dl className={css.fields}>
          {all.map((f) => (
            <div key={f.name}>
              <dt>
                <code>{f.name}</code> {f.required && <span className={css.required}>required</span>}
              </dt>
              <dd>
                <span className={css.type}>{f.type}</span> {f.text}
              </dd>
            </div>
          ))}
        </dl>
      )}
    </>
  );
}
