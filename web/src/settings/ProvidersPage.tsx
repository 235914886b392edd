import { NativeSelect, Switch, TextInput } from "@mantine/core";
import { useQuery } from "@tanstack/react-query";
import { useMay } from "../accounts/may";
import { credentials, providers } from "../api/calls";
import type { Provider } from "../api/types";
import { inert } from "../text/visible";
import { ModelIcon } from "../ui/icons";
import { Chip } from "../ui/state";
import { type Column, full, optional, nameField, Settings, text } from "./settings";

export function ProvidersPage() {
  const may = useMay()("inventory.manage");
  const keys = useQuery({ queryKey: ["credentials"], queryFn: credentials.list, enabled: may });
  const llm = (keys.data ?? []).filter((c) => c.kind === "llm_key");
  return (
    <Settings
      title="LLM providers"
      noun="provider"
      name="providers"
      may={may}
      lead="The models that investigate. The agent reaches them only through the proxy, which puts the key in; the default one is used where nothing else is said."
      art={<ModelIcon size={20} />}
      empty="Add an endpoint that speaks the OpenAI chat-completions protocol: OpenAI, OpenRouter or your own."
      list={providers.list}
      columns={columns}
      create={providers.create}
      read={(form) => ({
        name: text(form, "name"),
        kind: "openai" as const,
        base_url: text(form, "base_url"),
        model: text(form, "model"),
        credential: optional(form, "credential"),
        default: form.get("default") !== null,
        allow_private: form.get("allow_private") !== null,
      })}
      fields={
        <>
          <TextInput {...nameField} placeholder="openai" />
          <TextInput name="model" label="Model" placeholder="gpt-5" required spellCheck={false} autoCapitalize="none" />
          <TextInput
            className={full}
            name="base_url"
            type="url"
            label="Base URL"
            description="Of an OpenAI-compatible API; /chat/completions is added."
            placeholder="https://api.openai.com/v1"
            required
          />
          <NativeSelect name="credential" label="Key" data={[{ value: "", label: "None" }, ...llm.map((c) => ({ value: c.name, label: c.name }))]} />
          <span />
          <Switch className={full} name="default" label="Default" description="Investigations use this provider." />
          <Switch
            className={full}
            name="allow_private"
            label="Allow private addresses"
            description="For a model in your own network. Metadata addresses stay closed."
          />
        </>
      }
    />
  );
}

const columns: Column<Provider>[] = [
  {
    label: "Name",
    show: (p) => (
      <>
        {inert(p.name)} {p.default && <Chip tone="accent">Default</Chip>}
      </>
    ),
  },
  { label: "Model", show: (p) => <code>{inert(p.model)}</code> },
  { label: "Base URL", show: (p) => <code>{inert(p.base_url)}</code> },
  { label: "Key", show: (p) => inert(p.credential) || <span className="faint">None</span> },
  { label: "Private addresses", show: (p) => (p.allow_private ? "Allowed" : <span className="faint">Closed</span>) },
];
