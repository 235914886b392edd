import { Button } from "@mantine/core";
import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { type ReactNode, useState } from "react";
import { Ends, Form } from "../ui/form";
import { Card, Empty, LoadingRows, Page, Problem } from "../ui/parts";
import { PlusIcon } from "../ui/icons";
import css from "./settings.module.css";

/** What the settings pages share: a list, a form that adds to it, and what it answered. */

export interface Column<T> {
  label: string;
  show: (item: T) => ReactNode;
  end?: boolean;
}

interface SettingsProps<T, New, Made> {
  title: string;
  lead: ReactNode;
  /** What one of them is called, as in "New source". */
  noun: string;
  name: string;
  list: (o: { signal?: AbortSignal }) => Promise<T[]>;
  columns: Column<T>[];
  art: ReactNode;
  empty: ReactNode;
  /** Makes the request body of the form. */
  read: (form: FormData) => New;
  create: (body: New) => Promise<Made>;
  fields: ReactNode;
  /** Shown after a create, above all for what is shown only once. */
  made?: (made: Made, close: () => void) => ReactNode;
  /** Shown above the list, such as what is being done with one of them. */
  above?: ReactNode;
  /** How often the list refreshes itself, in ms. */
  every?: number;
  /** False for those who may only look. */
  may?: boolean;
}

export function Settings<T extends { id: string }, New, Made>(p: SettingsProps<T, New, Made>) {
  const client = useQueryClient();
  const query = useQuery({ queryKey: [p.name], queryFn: p.list, refetchInterval: p.every });
  const [open, setOpen] = useState(false);
  const [made, setMade] = useState<Made | null>(null);
  const create = useMutation({
    mutationFn: (body: New) => p.create(body),
    onSuccess: (answer) => {
      setOpen(false);
      if (p.made) setMade(answer);
      void client.invalidateQueries({ queryKey: [p.name] });
    },
  });
  const start = () => {
    create.reset();
    setMade(null);
    setOpen(true);
  };
  const add = p.may !== false && (
    <Button leftSection={<PlusIcon size={14} />} onClick={start}>
      New {p.noun}
    </Button>
  );

  return (
    <Page title={p.title} lead={p.lead} action={!open && (query.data?.length ?? 0) > 0 ? add : undefined}>
      {made !== null && p.made?.(made, () => setMade(null))}
      {open && (
        <Form className={css.form} submit={(form) => create.mutate(p.read(form))} label={`New ${p.noun}`}>
          <h2>New {p.noun}</h2>
          <div className={css.fields}>{p.fields}</div>
          <Ends of={create} close={() => setOpen(false)} className={css.buttons} />
        </Form>
      )}
      {p.above}
      {query.data && query.data.length > 0 ? (
        <>
          {query.error && <Problem what="The list could not be refreshed." error={query.error} kept="What is shown is from before." />}
          <Card label={p.title}>
            <table className={css.table}>
              <thead>
                <tr>
                  {p.columns.map((c) => (
                    <th key={c.label} className={c.end ? css.end : undefined} scope="col">
                      {c.label || <span className="sr-only">Actions</span>}
                    </th>
                  ))}
                </tr>
              </thead>
              <tbody>
                {query.data.map((item) => (
                  <tr key={item.id}>
                    {p.columns.map((c) => (
                      <td key={c.label} data-label={c.label} className={c.end ? css.end : undefined}>
                        <div>{c.show(item)}</div>
                      </td>
                    ))}
                  </tr>
                ))}
              </tbody>
            </table>
          </Card>
        </>
      ) : query.error ? (
        <Problem what="The list could not be read." error={query.error} retry={() => void query.refetch()} />
      ) : query.isPending ? (
        <Card>
          <LoadingRows />
        </Card>
      ) : (
        !open && (
          <Card>
            <Empty art={p.art} title={`No ${p.title.replace(/^[A-Z](?![A-Z])/, (c) => c.toLowerCase())} yet`} more={add}>
              {p.empty}
            </Empty>
          </Card>
        )
      )}
    </Page>
  );
}

export const full = css.full;

export function Sub({ children, bad }: { children: ReactNode; bad?: boolean }) {
  return <span className={`${css.sub} ${bad ? css.bad : ""}`}>{children}</span>;
}

/** What was made, with what is shown only this once. */
export function Made({ title, children, close }: { title: string; children: ReactNode; close: () => void }) {
  return (
    <section className={css.made} aria-label={title} role="status">
      <h2>{title}</h2>
      {children}
      <div>
        <Button variant="default" onClick={close}>
          I have saved it
        </Button>
      </div>
    </section>
  );
}

export function Once({ children }: { children: ReactNode }) {
  return <p className={css.once}>{children}</p>;
}

/** Names are used in rules, patterns and commands, so the api takes only these. */
export const nameField = {
  name: "name",
  label: "Name",
  required: true,
  autoFocus: true,
  maxLength: 100,
  pattern: "[A-Za-z0-9][A-Za-z0-9._\\-]*",
  title: "Letters, digits, dots, dashes and underscores; a letter or digit first.",
  autoCapitalize: "none",
  spellCheck: false,
} as const;

export function text(form: FormData, name: string): string {
  return String(form.get(name) ?? "").trim();
}

/** An empty field is one that was not given. */
export function optional(form: FormData, name: string): string | undefined {
  return text(form, name) || undefined;
}
