import { Button, NativeSelect, Textarea, TextInput } from "@mantine/core";
import { keepPreviousData, useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { useNavigate } from "@tanstack/react-router";
import { type ReactNode, useState } from "react";
import { incidents, users } from "../api/calls";
import { ApiError, messageOf } from "../api/client";
import type { Body, Incident, Severity } from "../api/types";
import { useMay, useUser } from "../accounts/may";
import { inert } from "../text/visible";
import { Ends, Form } from "../ui/form";
import { SeverityMark, StatusMark } from "../ui/state";
import css from "./Changes.module.css";

/** What people change of an incident: forms that open below its header, one at a time. */

export type Change = "edit" | "assign" | "merge";

export function ChangeForm({ change, incident, close }: { change: Change; incident: Incident; close: () => void }) {
  const Form = { edit: Edit, assign: Assign, merge: Merge }[change];
  return <Form incident={incident} close={close} />;
}

interface Props {
  incident: Incident;
  close: () => void;
}

/** The frame of such a form: Escape closes it, what went wrong is said in it. */
function Frame({ title, lead, save, of, ready = true, close, submit, children }: {
  title: string;
  lead: string;
  save: string;
  /** What makes the change. */
  of: { error: unknown; isPending: boolean };
  ready?: boolean;
  close: () => void;
  submit: () => void;
  children: ReactNode;
}) {
  return (
    <Form className={css.form} label={title} onKeyDown={(e) => e.key === "Escape" && close()} submit={submit}>
      <div>
        <h2>{title}</h2>
        <p className="dim">{lead}</p>
      </div>
      {children}
      <Ends of={of} what="Nothing was changed." save={save} disabled={!ready} close={close} className={css.buttons} />
    </Form>
  );
}

/** Keeps what the api answered and shows it at once. */
function useKept(then: (now: Incident) => void) {
  const client = useQueryClient();
  return (now: Incident) => {
    for (const name of [now.id, String(now.number)]) {
      if (client.getQueryData(["incident", name])) client.setQueryData(["incident", name], now);
    }
    void client.invalidateQueries({ queryKey: ["incidents"] });
    then(now);
  };
}

function Edit({ incident: now, close }: Props) {
  const [incident] = useState(now); // as the fields began: alerts may change it meanwhile
  const [title, setTitle] = useState(incident.title);
  const [severity, setSeverity] = useState<Severity>(incident.severity);
  const [description, setDescription] = useState(incident.description ?? "");
  const kept = useKept(close);
  const edit = useMutation({ mutationFn: (body: Body<"IncidentEditBody">) => incidents.edit(incident.id, body), onSuccess: kept });
  // Only what differs: each field that is sent is from then on the person's.
  const body: Body<"IncidentEditBody"> = {
    ...(title.trim() !== incident.title ? { title: title.trim() } : {}),
    ...(severity !== incident.severity ? { severity } : {}),
    ...(description !== (incident.description ?? "") ? { description } : {}),
  };
  return (
    <Frame
      title="Edit the incident"
      lead="What you set stays: later alerts change it no more."
      save="Save"
      of={edit}
      ready={Object.keys(body).length > 0 && title.trim() !== ""}
      close={close}
      submit={() => edit.mutate(body)}
    >
      <div className={css.fields}>
        <TextInput label="Title" value={title} onChange={(e) => setTitle(e.currentTarget.value)} required maxLength={300} autoFocus />
        <NativeSelect
          label="Severity"
          value={severity}
          onChange={(e) => setSeverity(e.currentTarget.value as Severity)}
          data={[
            { value: "critical", label: "Critical" },
            { value: "high", label: "High" },
            { value: "warning", label: "Warning" },
            { value: "info", label: "Info" },
          ]}
        />
      </div>
      <Textarea label="Description" value={description} onChange={(e) => setDescription(e.currentTarget.value)} rows={4} maxLength={16384} />
    </Frame>
  );
}

function Assign({ incident, close }: Props) {
  const user = useUser();
  const may = useMay();
  const [assignee, setAssignee] = useState(incident.assignee ?? "");
  // Only those who manage accounts may read the names of all.
  const q = assignee.trim();
  const known = useQuery({
    queryKey: ["users", "named", q],
    queryFn: async (o) => (await users.list({ q, limit: 20 }, o)).items,
    enabled: may("accounts.manage"),
    placeholderData: keepPreviousData,
  });
  const kept = useKept(close);
  const assign = useMutation({ mutationFn: (name: string) => incidents.assign(incident.id, name), onSuccess: kept });
  return (
    <Frame
      title="Assign the incident"
      lead="Says whose it is. It starts and stops nothing."
      save="Assign"
      of={assign}
      ready={assignee.trim() !== (incident.assignee ?? "")}
      close={close}
      submit={() => assign.mutate(assignee.trim())}
    >
      <div className={css.pick}>
        <TextInput
          label="User name"
          description="Empty for nobody."
          value={assignee}
          onChange={(e) => setAssignee(e.currentTarget.value)}
          maxLength={100}
          list="assignees"
          autoCapitalize="none"
          spellCheck={false}
          autoFocus
        />
        <datalist id="assignees">
          {(known.data ?? []).filter((u) => !u.disabled_at).map((u) => (
            <option key={u.id} value={u.username} />
          ))}
        </datalist>
        {incident.assignee !== user.username && (
          <Button variant="default" disabled={assign.isPending} onClick={() => assign.mutate(user.username)}>
            To me
          </Button>
        )}
        {incident.assignee && (
          <Button variant="default" disabled={assign.isPending} onClick={() => assign.mutate("")}>
            To nobody
          </Button>
        )}
      </div>
    </Frame>
  );
}

function Merge({ incident, close }: Props) {
  const [into, setInto] = useState("");
  const client = useQueryClient();
  const navigate = useNavigate();
  const other = useIncident(into);
  const merge = useMutation({
    mutationFn: (id: string) => incidents.merge(incident.id, id),
    onSuccess: (now) => {
      void client.invalidateQueries({ queryKey: ["incident"] });
      void client.invalidateQueries({ queryKey: ["incidents"] });
      void navigate({ to: "/incidents/$id", params: { id: String(now.number) } });
    },
  });
  const ready = other.found !== undefined && other.found.id !== incident.id;
  return (
    <Frame
      title="Merge into another incident"
      lead={`The alerts of #${incident.number} and what comes new of its groups become a part of that incident. What investigates this one is cancelled.`}
      save={ready ? `Merge into #${other.found?.number}` : "Merge"}
      of={merge}
      ready={ready}
      close={close}
      submit={() => other.found && merge.mutate(other.found.id)}
    >
      <IncidentField value={into} set={setInto} self={incident} other={other} autoFocus />
    </Frame>
  );
}

/** Finds an incident by the number that somebody types. */
export function useIncident(text: string) {
  const number = /^#?(\d{1,15})$/.exec(text.trim())?.[1] ?? "";
  const query = useQuery({
    queryKey: ["incident", number, "named"],
    queryFn: ({ signal }) => incidents.get(number, { signal }),
    enabled: number !== "",
    retry: false,
  });
  return { number, found: query.data, error: query.error };
}

export function IncidentField({ label = "Incident number", value, set, self, other, autoFocus }: {
  label?: string;
  value: string;
  set: (value: string) => void;
  self: Incident;
  other: ReturnType<typeof useIncident>;
  autoFocus?: boolean;
}) {
  const { found, error, number } = other;
  const missing = error instanceof ApiError && error.status === 404;
  return (
    <div className={css.pick}>
      <TextInput
        label={label}
        placeholder="#17"
        value={value}
        onChange={(e) => set(e.currentTarget.value)}
        inputMode="numeric"
        maxLength={16}
        autoFocus={autoFocus}
        error={value.trim() !== "" && number === "" ? "A number, as 17 or #17." : missing ? "There is no such incident." : error ? messageOf(error) : undefined}
      />
      {found && (
        <p className={css.found} role="status">
          {found.id === self.id ? (
            <span className="dim">That is this incident.</span>
          ) : (
            <>
              <span className="faint num">#{found.number}</span> <span>{inert(found.title)}</span> <SeverityMark value={found.severity} /> <StatusMark value={found.status} />
            </>
          )}
        </p>
      )}
    </div>
  );
}
