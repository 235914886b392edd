import { NativeSelect, PasswordInput, Textarea, TextInput } from "@mantine/core";
import { useState } from "react";
import { useMay } from "../accounts/may";
import { credentials } from "../api/calls";
import type { Body, Credential } from "../api/types";
import { inert } from "../text/visible";
import { KeyIcon } from "../ui/icons";
import { Ago } from "../ui/parts";
import { type Column, full, nameField, Settings, text } from "./settings";

type Kind = Body<"NewCredentialBody">["kind"];

const kinds: { value: Kind; label: string }[] = [
  { value: "ssh_key", label: "SSH private key" },
  { value: "ssh_password", label: "SSH password" },
  { value: "llm_key", label: "LLM provider key" },
];

export function CredentialsPage() {
  const may = useMay()("inventory.manage");
  return (
    <Settings
      title="Credentials"
      noun="credential"
      name="credentials"
      may={may}
      lead="What the gateway logs in with and what the proxy pays the model with. A secret is sealed as it is saved; neither this page nor the agent can read it back."
      art={<KeyIcon size={20} />}
      empty="Add the key that the gateway logs in to your hosts with, or the key of your LLM provider."
      list={credentials.list}
      columns={columns}
      create={credentials.create}
      read={(form) => ({
        name: text(form, "name"),
        kind: text(form, "kind") as Kind,
        // As it was pasted: an SSH key needs its last line end.
        secret: String(form.get("secret") ?? ""),
        targets: text(form, "targets")
          .split(/[\s,]+/)
          .filter(Boolean),
      })}
      fields={<Fields />}
    />
  );
}

function Fields() {
  const [kind, setKind] = useState<Kind>("ssh_key");
  const llm = kind === "llm_key";
  return (
    <>
      <TextInput {...nameField} placeholder={llm ? "openai" : "ops-key"} />
      <NativeSelect name="kind" label="Kind" data={kinds} value={kind} onChange={(e) => setKind(e.currentTarget.value as Kind)} />
      {kind === "ssh_key" ? (
        <Textarea
          className={full}
          name="secret"
          label="Private key"
          description="In OpenSSH or PEM form, without a passphrase. Write-only."
          placeholder="-----BEGIN OPENSSH PRIVATE KEY-----"
          rows={5}
          required
          spellCheck={false}
          autoComplete="off"
        />
      ) : (
        <PasswordInput className={full} name="secret" label={llm ? "Key" : "Password"} description="Write-only." required autoComplete="new-password" />
      )}
      <TextInput
        className={full}
        name="targets"
        label={llm ? "For which providers" : "For which targets"}
        description={`Names or patterns such as ${llm ? "openai" : "db-*"}, separated by spaces. The secret opens for nothing else.`}
        placeholder={llm ? "openai" : "db-* web-1"}
        required
        spellCheck={false}
        autoCapitalize="none"
      />
    </>
  );
}

const columns: Column<Credential>[] = [
  { label: "Name", show: (c) => inert(c.name) },
  { label: "Kind", show: (c) => kinds.find((k) => k.value === c.kind)?.label ?? inert(c.kind) },
  { label: "Only for", show: (c) => <code>{(c.targets ?? []).map(inert).join(" ")}</code> },
  { label: "Version", show: (c) => <span className="num">{c.version}</span> },
  { label: "Saved", show: (c) => <Ago at={c.created_at} suffix=" ago" /> },
];
