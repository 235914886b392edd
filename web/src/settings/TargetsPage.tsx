import { Button, NativeSelect, Textarea, TextInput } from "@mantine/core";
import { useQuery, useQueryClient } from "@tanstack/react-query";
import { useState } from "react";
import { useMay } from "../accounts/may";
import { credentials, targets } from "../api/calls";
import type { Credential, Target } from "../api/types";
import { Remove } from "../grouping/Remove";
import { inert } from "../text/visible";
import { Ends, Form, useSave } from "../ui/form";
import { TargetIcon } from "../ui/icons";
import { Enrol } from "./Enrol";
import enrol from "./enrol.module.css";
import css from "./settings.module.css";
import { type Column, full, optional, nameField, Settings, Sub, text } from "./settings";

/** What is being done with one of them. */
interface Chosen {
  id: string;
  what: "check" | "edit";
}

export function TargetsPage() {
  const may = useMay()("inventory.manage");
  const keys = useQuery({ queryKey: ["credentials"], queryFn: credentials.list, enabled: may });
  const others = useQuery({ queryKey: ["targets"], queryFn: targets.list });
  const [chosen, setChosen] = useState<Chosen>({ id: "", what: "check" });
  const close = () => setChosen({ id: "", what: "check" });
  const one = others.data?.find((t) => t.id === chosen.id);
  const logins = (keys.data ?? []).filter((c) => c.kind === "ssh_key" || c.kind === "ssh_password");
  return (
    <Settings
      title="Targets"
      noun="target"
      name="targets"
      may={may}
      lead="The machines that the agent may look at. It names a target; the gateway decides, connects and logs in. What is not listed here cannot be reached."
      art={<TargetIcon size={20} />}
      empty="Add the first host that the agent may run read-only diagnostics on."
      list={targets.list}
      columns={may ? [...columns, { label: "", end: true, show: (t) => <Acts target={t} open={setChosen} /> }] : columns}
      create={targets.create}
      made={(t, close) => <Enrol target={others.data?.find((o) => o.id === t.id) ?? t} close={close} />}
      above={
        may &&
        one &&
        (chosen.what === "edit" ? (
          <Change key={one.id} target={one} logins={logins} others={others.data ?? []} open={setChosen} close={close} />
        ) : (
          <Enrol key={one.id} target={one} close={close} />
        ))
      }
      read={(form) => ({ name: text(form, "name"), kind: "ssh" as const, ...hostOf(form) })}
      fields={
        <>
          <TextInput {...nameField} placeholder="db-1" />
          <Fields logins={logins} others={others.data ?? []} />
        </>
      }
    />
  );
}

/** What is chosen now is among them, also before the others are known: a save must not drop it. */
function choices(none: string, now: string | undefined, all: { name: string }[]) {
  const names = new Set([...(now ? [now] : []), ...all.map((c) => c.name)]);
  return [{ value: "", label: none }, ...[...names].map((name) => ({ value: name, label: inert(name) }))];
}

/** Where a host is and who logs in, as it is now or still unknown. */
function Fields({ target, logins, others }: { target?: Target; logins: Credential[]; others: Target[] }) {
  return (
    <>
      <TextInput name="address" label="Address" placeholder="db-1.example.com" defaultValue={target?.address} required />
      <TextInput name="port" label="SSH port" type="number" min={1} max={65535} defaultValue={target?.port ?? 22} required />
      <TextInput name="user" label="User" placeholder="akmatori" defaultValue={target?.user} required autoCapitalize="none" spellCheck={false} />
      <NativeSelect name="credential" label="Credential" defaultValue={target?.credential} data={choices("None", target?.credential, logins)} />
      <NativeSelect
        name="jump"
        label="Through"
        description="A target that connections pass."
        defaultValue={target?.jump}
        data={choices(
          "Directly",
          target?.jump,
          others.filter((t) => t.kind === "ssh" && t.id !== target?.id),
        )}
      />
      <Textarea
        className={full}
        name="host_key"
        label="Host key"
        description={
          target
            ? "Its public keys, to pin these and no others. Left empty, what is pinned stays; at another address or port or by another way nothing is, until you have compared what the host shows."
            : "Its public keys, one a line, or @cert-authority and the key of who signs host keys. If you do not have them, leave it empty: the host is asked next, and you compare."
        }
        placeholder="ssh-ed25519 AAAA…"
        rows={3}
        spellCheck={false}
      />
    </>
  );
}

function hostOf(form: FormData) {
  return {
    address: text(form, "address"),
    port: Number(text(form, "port")),
    user: text(form, "user"),
    host_key: optional(form, "host_key"),
    credential: text(form, "credential"),
    jump: text(form, "jump"),
  };
}

/** Changes a host. Without a pinned key nothing logs in, so that is what comes next. */
function Change({ target, logins, others, open, close }: { target: Target; logins: Credential[]; others: Target[]; open: (c: Chosen) => void; close: () => void }) {
  const save = useSave(
    (form: FormData) => targets.change(target.id, hostOf(form)),
    "targets",
    (now) => (now.host_keys.length > 0 ? close() : open({ id: now.id, what: "check" })),
  );
  return (
    <Form className={css.form} label={`Change ${inert(target.name)}`} submit={(form) => save.mutate(form)}>
      <h2>Change {inert(target.name)}</h2>
      <div className={css.fields}>
        <Fields target={target} logins={logins} others={others} />
      </div>
      <Ends of={save} close={close} className={css.buttons} />
    </Form>
  );
}

const columns: Column<Target>[] = [
  {
    label: "Name",
    show: (t) => (
      <>
        {inert(t.name)}
        <Sub>{t.kind === "ssh" ? "SSH" : inert(t.kind)}</Sub>
      </>
    ),
  },
  {
    label: "Address",
    show: (t) => (
      <>
        <code>
          {t.user ? `${inert(t.user)}@` : ""}
          {inert(t.address)}:{t.port}
        </code>
        {t.jump && <Sub>through {inert(t.jump)}</Sub>}
      </>
    ),
  },
  { label: "Host key", show: (t) => <Pinned target={t} /> },
  { label: "Credential", show: (t) => inert(t.credential) || <span className="faint">None</span> },
];

function Pinned({ target }: { target: Target }) {
  if (target.kind !== "ssh") return <span className="faint">–</span>;
  if (target.host_keys.length === 0) return <Sub bad>Not pinned: no login</Sub>;
  return (
    <>
      {target.host_keys.map((k) => (
        <Sub key={k.fingerprint}>
          <span title={inert(k.fingerprint)}>
            {inert(k.type.replace(/^ssh-/, ""))} <code>{inert(k.fingerprint.slice(0, 17))}…</code>
            {k.authority && " authority"}
          </span>
        </Sub>
      ))}
    </>
  );
}

function Acts({ target, open }: { target: Target; open: (c: Chosen) => void }) {
  const client = useQueryClient();
  const choose = (what: Chosen["what"]) => () => {
    open({ id: target.id, what });
    window.scrollTo({ top: 0 });
  };
  return (
    <div className={enrol.row}>
      <Button size="compact-sm" variant="default" onClick={choose("check")} aria-label={`Check the connection to ${inert(target.name)}`}>
        Check
      </Button>
      {target.kind === "ssh" && (
        <Button size="compact-sm" variant="default" onClick={choose("edit")} aria-label={`Change ${inert(target.name)}`}>
          Change
        </Button>
      )}
      <Remove name={target.name} remove={() => targets.remove(target.id)} then={() => client.invalidateQueries({ queryKey: ["targets"] })} />
    </div>
  );
}
