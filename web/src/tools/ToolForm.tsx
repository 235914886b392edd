import { Button, Checkbox, NativeSelect, Textarea, TextInput } from "@mantine/core";
import { useMutation } from "@tanstack/react-query";
import { useState } from "react";
import { tools } from "../api/calls";
import { inert } from "../text/visible";
import { Ends, Form } from "../ui/form";
import { CloseIcon, PlusIcon } from "../ui/icons";
import { Problem, Snippet } from "../ui/parts";
import { changeOf, commandChoices, type Draft, draftOf, inputOf, inputs, matchPath, methods, type Param, places, readArguments, reads, sample, type Server, type ServerTool, types } from "./draft";
import css from "./tools.module.css";

/** Declares a request of an HTTP API as a tool, and shows what it would send. */
export function ToolForm({ server, tool, close }: { server: Server; tool?: ServerTool; close: () => void }) {
  const [draft, setDraft] = useState<Draft>(() => draftOf(tool));
  const http = draft.http;
  const set = (more: Partial<Draft["http"]>) => setDraft({ ...draft, http: { ...http, ...more } });
  const save = useMutation({
    mutationFn: () => {
      const rest = inputs(server).filter((t) => t.name !== tool?.name);
      return tools.change(server.id, changeOf(server, [...rest, inputOf(draft)]));
    },
    onSuccess: close,
  });
  const mutates = draft.mutates || !reads(http.method);
  return (
    <Form className={tool ? css.inline : css.form} label={tool ? `Edit ${inert(tool.name)}` : "New tool"} submit={() => save.mutate()}>
      <TextInput
        className={css.short}
        label="Name"
        description={`Agents and rules know it as ${server.name}__${draft.name || "name"}.`}
        pattern="[A-Za-z0-9_\-]+"
        value={draft.name}
        onChange={(e) => setDraft({ ...draft, name: e.currentTarget.value })}
        maxLength={40}
        required
        autoFocus
        autoCapitalize="none"
        spellCheck={false}
      />
      <Textarea label="Description" description="What the model reads: when to use it, and what it gives." value={http.description} onChange={(e) => set({ description: e.currentTarget.value })} autosize minRows={2} maxRows={8} required />
      <div className={css.request}>
        <NativeSelect label="Method" data={[...methods]} value={http.method} onChange={(e) => set({ method: e.currentTarget.value })} />
        <TextInput
          label="Path"
          description="Below the server's URL. {name} is a parameter."
          value={http.path}
          onChange={(e) => set({ path: e.currentTarget.value })}
          onBlur={() => set({ params: matchPath(http.path, http.params) })}
          required
          autoCapitalize="none"
          spellCheck={false}
        />
      </div>
      <Checkbox
        label="It may change something"
        description={reads(http.method) ? "A GET that changes something after all." : `A ${http.method} may.`}
        checked={mutates}
        disabled={!reads(http.method)}
        onChange={(e) => setDraft({ ...draft, mutates: e.currentTarget.checked })}
      />
      <Params method={http.method} all={http.params} onChange={(params) => set({ params })} />
      <NativeSelect
        className={css.short}
        label="Which parameter is a shell command?"
        description="It is judged and shown as one. Until somebody says, one that is called command, script or the like is asked."
        data={commandChoices(http.params.filter((p) => p.type === "string" && p.name !== "").map((p) => p.name))}
        value={draft.command}
        onChange={(e) => setDraft({ ...draft, command: e.currentTarget.value })}
      />
      <details>
        <summary>The answer</summary>
        <div className={css.fields}>
          <TextInput label="Only this part" description="A JSON pointer, such as /data/result. Empty: all of it." value={http.pointer ?? ""} onChange={(e) => set({ pointer: e.currentTarget.value })} spellCheck={false} autoCapitalize="none" />
          <TextInput
            label="Only these fields of each item"
            description="JSON pointers with spaces between, such as /name /status/phase. Empty: all."
            value={http.fields.join(" ")}
            onChange={(e) => set({ fields: e.currentTarget.value.split(/\s+/).filter((f, i, all) => f !== "" || i === all.length - 1) })}
            onBlur={() => set({ fields: http.fields.filter(Boolean) })}
            spellCheck={false}
            autoCapitalize="none"
          />
          <div className={css.pair}>
            <TextInput label="Seconds to wait" type="number" min={1} max={300} placeholder="30" value={http.seconds ?? ""} onChange={(e) => set({ seconds: Number(e.currentTarget.value) || undefined })} />
            <TextInput label="Bytes at most" type="number" min={1} max={8388608} placeholder="1048576" value={http.bytes ?? ""} onChange={(e) => set({ bytes: Number(e.currentTarget.value) || undefined })} />
          </div>
        </div>
      </details>
      <Checkbox label="On" description="Off: no agent has it." checked={draft.enabled} onChange={(e) => setDraft({ ...draft, enabled: e.currentTarget.checked })} />
      <Preview server={server} draft={draft} />
      <Ends of={save} close={close} className={css.buttons} />
    </Form>
  );
}

function Params({ method, all, onChange }: { method: string; all: Param[]; onChange: (all: Param[]) => void }) {
  const change = (i: number, more: Partial<Param>) => onChange(all.map((p, j) => (i === j ? { ...p, ...more } : p)));
  const where = places.filter((p) => p !== "body" || !reads(method));
  return (
    <fieldset className={css.params}>
      <legend>Parameters</legend>
      {all.map((p, i) => (
        <div key={i} className={css.param} role="group" aria-label={`Parameter ${inert(p.name) || i + 1}`}>
          <TextInput label="Name" value={p.name} onChange={(e) => change(i, { name: e.currentTarget.value })} pattern="[a-z][a-z0-9_]*" maxLength={40} required autoCapitalize="none" spellCheck={false} />
          <NativeSelect label="In" data={[...where]} value={p.in} onChange={(e) => change(i, { in: e.currentTarget.value, required: e.currentTarget.value === "path" || p.required === true })} />
          <NativeSelect label="Type" data={types.filter((t) => (t !== "object" || p.in === "body") && (t !== "array" || p.in === "body" || p.in === "query"))} value={p.type} onChange={(e) => change(i, { type: e.currentTarget.value })} />
          <TextInput className={css.wide} label="Description" value={p.description} onChange={(e) => change(i, { description: e.currentTarget.value })} required />
          <div className={css.paramMore}>
            <Checkbox label="Required" checked={p.in === "path" || p.required === true} disabled={p.in === "path"} onChange={(e) => change(i, { required: e.currentTarget.checked })} />
            <Button variant="subtle" color="gray" size="compact-sm" leftSection={<CloseIcon size={12} />} onClick={() => onChange(all.filter((_, j) => j !== i))} aria-label={`Remove parameter ${inert(p.name) || i + 1}`}>
              Remove
            </Button>
          </div>
          <details className={css.whole}>
            <summary>More</summary>
            <div className={css.pair}>
              {p.in !== "path" && <TextInput label="Name there" description="If it has another one in the request." value={p.as ?? ""} onChange={(e) => change(i, { as: e.currentTarget.value })} spellCheck={false} autoCapitalize="none" />}
              {(p.type === "string" || p.type === "array") && (
                <>
                  <TextInput label="Pattern" description="A regular expression for all of it." value={p.pattern ?? ""} onChange={(e) => change(i, { pattern: e.currentTarget.value })} spellCheck={false} autoCapitalize="none" />
                  <TextInput label="One of" description="With spaces between." value={(p.enum ?? []).join(" ")} onChange={(e) => change(i, { enum: e.currentTarget.value.split(/\s+/).filter(Boolean) })} spellCheck={false} autoCapitalize="none" />
                </>
              )}
            </div>
          </details>
        </div>
      ))}
      <div>
        <Button variant="default" size="compact-sm" leftSection={<PlusIcon size={12} />} onClick={() => onChange([...all, { name: "", in: "query", type: "string", description: "" }])}>
          Add a parameter
        </Button>
      </div>
    </fieldset>
  );
}

/** The request that the gateway would make of these arguments. Nothing is sent. */
function Preview({ server, draft }: { server: Server; draft: Draft }) {
  const [text, setText] = useState("");
  const read = readArguments(text);
  const show = useMutation({
    mutationFn: (args: Record<string, unknown>) =>
      tools.preview({ url: server.url, allow_http: server.allow_http, header: server.header ?? "", tool: { ...inputOf(draft), name: draft.name || "preview" }, arguments: args }),
  });
  const r = show.data;
  return (
    <section className={css.trial} aria-label="Preview">
      <Textarea
        label="Preview with these arguments"
        placeholder={sample(draft.http.params)}
        value={text}
        onChange={(e) => setText(e.currentTarget.value)}
        autosize
        minRows={1}
        maxRows={8}
        spellCheck={false}
        error={"wrong" in read && read.wrong}
        classNames={{ input: css.mono }}
      />
      <div>
        <Button variant="default" size="compact-sm" loading={show.isPending} disabled={"wrong" in read} onClick={() => "args" in read && show.mutate(read.args)}>
          Show the request
        </Button>
      </div>
      {show.error && <Problem what="It makes no request." error={show.error} />}
      {r && (
        <Snippet
          wrap
          label="The request, without its credential"
          text={[
            `${r.method} ${r.url}`,
            ...Object.entries(r.header).map(([k, v]) => `${k}: ${(v ?? []).join(", ")}`),
            ...(server.credential ? [`${server.header || "Authorization"}: (credential ${server.credential}, put in by the gateway)`] : []),
            ...(r.body ? ["", r.body] : []),
          ].join("\n")}
        />
      )}
    </section>
  );
}
