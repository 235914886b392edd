import { NativeSelect, Textarea, TextInput } from "@mantine/core";
import { useQuery } from "@tanstack/react-query";
import { useMay } from "../accounts/may";
import { credentials, targets } from "../api/calls";
import type { Target } from "../api/types";
import { inert } from "../text/visible";
import { TargetIcon } from "../ui/icons";
import { type Column, full, optional, nameField, Settings, text } from "./settings";

export function TargetsPage() {
  const may = useMay()("inventory.manage");
  const keys = useQuery({ queryKey: ["credentials"], queryFn: credentials.list, enabled: may });
  const others = useQuery({ queryKey: ["targets"], queryFn: targets.list });
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
      columns={columns}
      create={targets.create}
      read={(form) => ({
        name: text(form, "name"),
        kind: "ssh" as const,
        address: text(form, "address"),
        port: Number(text(form, "port")),
        user: text(form, "user"),
        host_key: text(form, "host_key"),
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
            description="Public keys, one a line, as ssh-keyscan prints them without the host column. Compare them with the host's own: a host that shows another key is refused."
            placeholder="ssh-ed25519 AAAA…"
            rows={3}
            required
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
  { label: "Host key", show: (t) => (t.host_key ? <HostKeys keys={t.host_key} /> : <span className="faint">Not pinned</span>) },
  { label: "Credential", show: (t) => inert(t.credential) || <span className="faint">None</span> },
  { label: "Through", show: (t) => inert(t.jump) || <span className="faint">Directly</span> },
];

function HostKeys({ keys }: { keys: string }) {
  const kinds = keys
    .split("\n")
    .map((line) => line.trim().split(/\s+/)[0] ?? "")
    .filter(Boolean);
  return <span title={inert(keys)}>{kinds.map((k) => inert(k.replace(/^ssh-/, ""))).join(", ")}</span>;
}
