import { Button, Checkbox, NativeSelect, Textarea, TextInput } from "@mantine/core";
import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { useNavigate } from "@tanstack/react-router";
import { useState } from "react";
import { credentials, tools } from "../api/calls";
import { inert } from "../text/visible";
import { Ends, Form, useSave } from "../ui/form";
import { Problem } from "../ui/parts";
import { changeOf, type Server } from "./draft";
import css from "./tools.module.css";

type Place = Pick<Server, "url" | "allow_http" | "allow_private" | "enabled"> & { ca: string; credential: string; header: string };

/** Adds a server, and goes to it: what it can do is said there. */
export function NewServer({ kind, close }: { kind: "http" | "mcp"; close: () => void }) {
  const [name, setName] = useState("");
  const [place, setPlace] = useState<Place>({ url: "https://", ca: "", credential: "", header: "", allow_http: false, allow_private: false, enabled: true });
  const client = useQueryClient();
  const navigate = useNavigate();
  const save = useMutation({
    mutationFn: () => tools.create({ name, kind, ...place }),
    onSuccess: (made) => {
      void client.invalidateQueries({ queryKey: ["tools"] });
      void navigate({ to: "/tools/$id", params: { id: made.id } });
    },
  });
  return (
    <Form className={css.form} label={kind === "mcp" ? "New MCP server" : "New HTTP API"} submit={() => save.mutate()}>
      <TextInput
        className={css.short}
        label="Name"
        description={`Small letters, digits and -. Its tools are called ${name || "name"}__tool.`}
        pattern="[a-z][a-z0-9\-]*"
        value={name}
        onChange={(e) => setName(e.currentTarget.value)}
        maxLength={30}
        required
        autoFocus
        autoCapitalize="none"
        spellCheck={false}
      />
      <PlaceFields kind={kind} value={place} onChange={setPlace} />
      <Ends of={save} save="Add" close={close} className={css.buttons} />
    </Form>
  );
}

/** Where a server is and how we prove ourselves there. */
export function ServerSettings({ server }: { server: Server }) {
  const [place, setPlace] = useState<Place>({ ca: "", credential: "", header: "", ...server });
  const save = useSave(() => tools.change(server.id, changeOf({ ...server, ...place }, undefined)), "tools");
  return (
    <Form className={css.fields} label="Settings" submit={() => save.mutate()}>
      <PlaceFields kind={server.kind} value={place} onChange={setPlace} />
      <Checkbox label="On" description="Off: no agent has any of its tools, and nothing is sent there." checked={place.enabled} onChange={(e) => setPlace({ ...place, enabled: e.currentTarget.checked })} />
      {save.error && <Problem what="Nothing was saved." error={save.error} />}
      <div className={css.buttons}>
        <Button type="submit" loading={save.isPending}>
          Save
        </Button>
        {save.isSuccess && <span role="status">Saved. The gateway has it within a second.</span>}
      </div>
    </Form>
  );
}

function PlaceFields({ kind, value, onChange }: { kind: string; value: Place; onChange: (p: Place) => void }) {
  const known = useQuery({ queryKey: ["credentials"], queryFn: credentials.list });
  const fit = (known.data ?? []).filter((c) => c.kind.startsWith("http_"));
  const header = fit.find((c) => c.name === value.credential)?.kind === "http_header";
  return (
    <>
      <TextInput
        label="URL"
        description={kind === "mcp" ? "Its endpoint for streamable HTTP. Only this host and port are ever dialled, and redirects are not followed." : "What the paths of its tools are below. Only this host and port are ever dialled, and redirects are not followed."}
        value={value.url}
        onChange={(e) => onChange({ ...value, url: e.currentTarget.value })}
        maxLength={1000}
        required
        autoCapitalize="none"
        spellCheck={false}
      />
      <div className={css.pair}>
        <NativeSelect
          label="Credential"
          description="Of a kind for HTTP, and for this host. The gateway puts it in; no agent sees it."
          value={value.credential}
          onChange={(e) => onChange({ ...value, credential: e.currentTarget.value, header: "" })}
          data={[{ value: "", label: "None" }, ...fit.map((c) => ({ value: c.name, label: `${inert(c.name)} (${c.kind.slice(5)})` }))]}
        />
        {header && (
          <TextInput label="Header" description="Which one the credential goes into." placeholder="X-Api-Key" value={value.header} onChange={(e) => onChange({ ...value, header: e.currentTarget.value })} required spellCheck={false} autoCapitalize="none" />
        )}
      </div>
      <Checkbox label="Allow private addresses" description="Its host may have a private or loopback address. Those of metadata services are never dialled." checked={value.allow_private} onChange={(e) => onChange({ ...value, allow_private: e.currentTarget.checked })} />
      <Checkbox label="Allow HTTP without TLS" description="What is sent, the credential too, can then be read and changed on the way." checked={value.allow_http} onChange={(e) => onChange({ ...value, allow_http: e.currentTarget.checked })} />
      <details>
        <summary>Its own certificate authority</summary>
        <Textarea
          label="Certificates in PEM form"
          description="These alone may have signed its certificate. Empty: those that the system trusts."
          value={value.ca}
          onChange={(e) => onChange({ ...value, ca: e.currentTarget.value })}
          rows={4}
          spellCheck={false}
          placeholder="-----BEGIN CERTIFICATE-----"
        />
      </details>
    </>
  );
}
