import { Button, NativeSelect, Textarea, TextInput } from "@mantine/core";
import { useQuery, useQueryClient } from "@tanstack/react-query";
import { useState } from "react";
import { useMay } from "../accounts/may";
import { credentials, targets } from "../api/calls";
import type { Target } from "../api/types";
import { Remove } from "../grouping/Remove";
import { inert } from "../text/visible";
import { TargetIcon } from "../ui/icons";
import { Enrol } from "./Enrol";
import enrol from "./enrol.module.css";
import { type Column, full, optional, nameField, Settings, Sub, text } from "./settings";

export function TargetsPage() {
  const may = useMay()("inventory.manage");
  const keys = useQuery({ queryKey: ["credentials"], queryFn: credentials.list, enabled: may });
  const others = useQuery({ queryKey: ["targets"], queryFn: targets.list });
  const [chosen, setChosen] = useState("");
  const one = others.data?.find((t) => t.id === chosen);
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
      columns={may ? [...columns, { label: "", end: true, show: (t) => <Check target={t} open={setChosen} /> }] : columns}
      create={targets.create}
      made={(t, close) => <Enrol target={others.data?.find((o) => o.id === t.id) ?? t} close={close} />}
      above={may && one && <Enrol key={one.id} target={one} close={() => setChosen("")} />}
      read={(form) => ({
        name: text(form, "name"),
        kind: "ssh" as const,
        address: text(form, "address"),
        port: Number(text(form, "port")),
        user: text(form, "user"),
        host_key: optional(form, "host_key"),
        credential: optional(form, "credential"),
        jump: optional(form, "jump"),
      })}
      fields={
        <>
          <TextInput {...nameField} placeholder="db-1" />
          <TextInput name="address" label="Address" placeholder="db-1.example.com" required />
          <TextInput name="port" label="SSH port" type="number" min={1} max={65535} defaultValue="22" required />
          <TextInput name="user" label="User" placeholder="akmatori" required autoCapitalize="none" spellCheck={false} />
          <NativeSelect name="credential" label="Credential" data={[{ value: "", label: "None" }, ...logins.map((c) => ({ value: c.name, label: c.name }))]} />
          <NativeSelect
            name="jump"
            label="Through"
            description="A target that connections pass."
            data={[{ value: "", label: "Directly" }, ...(others.data ?? []).map((t) => ({ value: t.name, label: t.name }))]}
          />
          <Textarea
            className={full}
            name="host_key"
            label="Host key"
            description="Its public keys, one a line, or @cert-authority and the key of who signs host keys. If you do not have them, leave it empty: the host is asked next, and you compare."
            placeholder="ssh-ed25519 AAAA…"
            rows={3}
            spellCheck={false}
          />
        </>
      }
    />
  );
}

const columns: Column<Target>[] = [
  { label: "Name", show: (t) => inert(t.name) },
  { label: "Kind", show: (t) => (t.kind === "ssh" ? "SSH" : inert(t.kind)) },
  {
    label: "Address",
    show: (t) => (
      <code>
        {t.user ? `${inert(t.user)}@` : ""}
        {inert(t.address)}:{t.port}
      </code>
    ),
  },
  { label: "Host key", show: (t) => <Pinned target={t} /> },
  { label: "Credential", show: (t) => inert(t.credential) || <span className="faint">None</span> },
  { label: "Through", show: (t) => inert(t.jump) || <span className="faint">Directly</span> },
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

function Check({ target, open }: { target: Target; open: (id: string) => void }) {
  const client = useQueryClient();
  const choose = () => {
    open(target.id);
    window.scrollTo({ top: 0 });
  };
  return (
    <div className={enrol.row}>
      <Button size="compact-sm" variant="default" onClick={choose} aria-label={`Check the connection to ${inert(target.name)}`}>
        Check
      </Button>
      <Remove name={target.name} remove={() => targets.remove(target.id)} then={() => client.invalidateQueries({ queryKey: ["targets"] })} />
    </div>
  );
}
