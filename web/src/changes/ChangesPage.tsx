import { Button, Textarea, TextInput } from "@mantine/core";
import { useQuery } from "@tanstack/react-query";
import { useState } from "react";
import { useMay } from "../accounts/may";
import { changes } from "../api/calls";
import table from "../settings/settings.module.css";
import { optional, text } from "../settings/settings";
import { inert } from "../text/visible";
import { Ends, Form, useSave } from "../ui/form";
import { ChangesIcon, SearchIcon } from "../ui/icons";
import { Ago, Card, Empty, LoadingRows, OutLink, Page, Problem, Snippet } from "../ui/parts";
import css from "./changes.module.css";

const example = `curl -sS ${location.origin}/api/v1/changes \\
  -H "Authorization: Bearer $AKMATORI_TOKEN" -H "Content-Type: application/json" \\
  -d '{"service": "checkout-api", "text": "v1.42 deployed", "link": "https://ci.example.com/1234"}'`;

/** What was done to services: an investigation begins with what is a day old or younger. */
export function ChangesPage() {
  const may = useMay()("incidents.respond");
  const [service, setService] = useState("");
  const [open, setOpen] = useState(false);
  const query = useQuery({ queryKey: ["changes", service], queryFn: (o) => changes.list(service, o), refetchInterval: 15_000 });
  const all = query.data;
  return (
    <Page
      title="Changes"
      lead="Deployments and other work on services. Investigations begin with those of the last day, and they are kept for 90."
      action={
        may && !open ? (
          <Button variant="default" onClick={() => setOpen(true)}>
            Note a change
          </Button>
        ) : undefined
      }
    >
      {open && <Note close={() => setOpen(false)} />}
      <form
        role="search"
        className={css.search}
        onSubmit={(e) => {
          e.preventDefault();
          setService(text(new FormData(e.currentTarget), "service"));
        }}
      >
        <TextInput name="service" type="search" aria-label="Service" placeholder="All services" leftSection={<SearchIcon />} maxLength={200} spellCheck={false} autoCapitalize="none" />
        <Button type="submit" variant="default">
          Show
        </Button>
      </form>
      {all && all.length > 0 ? (
        <Card label="Changes">
          <table className={table.table}>
            <thead>
              <tr>
                {["Service", "What", "When", "Noted by"].map((c) => (
                  <th key={c} scope="col">
                    {c}
                  </th>
                ))}
              </tr>
            </thead>
            <tbody>
              {all.map((c) => (
                <tr key={c.id}>
                  <td data-label="Service">
                    <div className={css.long}>{inert(c.service)}</div>
                  </td>
                  <td data-label="What">
                    <div className={css.long}>
                      {inert(c.text)} {c.link && <OutLink url={c.link}>link</OutLink>}
                    </div>
                  </td>
                  <td data-label="When">
                    <div>
                      <Ago at={c.at} suffix=" ago" />
                    </div>
                  </td>
                  <td data-label="Noted by">
                    <div className={css.long}>{inert(c.noted_by.replace(/^user:/, ""))}</div>
                  </td>
                </tr>
              ))}
            </tbody>
          </table>
        </Card>
      ) : query.error ? (
        <Problem what="The changes could not be read." error={query.error} retry={() => void query.refetch()} />
      ) : query.isPending ? (
        <Card><LoadingRows /></Card>
      ) : (
        <Card>
          <Empty art={<ChangesIcon size={20} />} title={service ? "Nothing was noted of it" : "No changes yet"}>
            {service ? "A service is called here as alerts name it." : "Have your deployments note themselves, as the last step of a pipeline:"}
          </Empty>
          {!service && (
            <div className={css.example}>
              <Snippet text={example} label="the call of a pipeline" wrap />
            </div>
          )}
        </Card>
      )}
    </Page>
  );
}

function Note({ close }: { close: () => void }) {
  const note = useSave(changes.note, "changes", close);
  const submit = (form: FormData) => note.mutate({ service: text(form, "service"), text: text(form, "text"), link: optional(form, "link") });
  return (
    <Form className={table.form} submit={submit} label="New change">
      <h2>Something was done now</h2>
      <div className={table.fields}>
        <TextInput name="service" label="Service" description="The service or host, as alerts name it." required autoFocus maxLength={200} spellCheck={false} autoCapitalize="none" />
        <TextInput name="link" label="Link" description="If there is more to read." type="url" maxLength={2000} placeholder="https://" />
        <Textarea className={table.full} name="text" label="What was done" required maxLength={2000} rows={2} />
      </div>
      <Ends of={note} what="Nothing was noted." save="Note it" close={close} className={table.buttons} />
    </Form>
  );
}
