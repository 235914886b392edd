import { Button, Textarea } from "@mantine/core";
import { useMutation } from "@tanstack/react-query";
import { useState } from "react";
import { deliveries, sources } from "../api/calls";
import type { Alert, Body, Source } from "../api/types";
import { inert } from "../text/visible";
import { Problem } from "../ui/parts";
import { SeverityMark } from "../ui/state";
import css from "./sources.module.css";
import { counted } from "./state";
import { indented } from "./TestEvent";

/** Reads a body with the settings as they stand in the form, and stores nothing. */
export function Preview({ source, asked }: { source: Source; asked: () => Pick<Body<"SampleBody">, "options" | "settings"> }) {
  const [sample, setSample] = useState("");
  const [type, setType] = useState("application/json");
  const take = useMutation({
    mutationFn: async () => {
      const page = await sources.deliveries(source.id, { limit: 1 }, {});
      const newest = page.items[0];
      if (!newest) throw new Error("nothing has arrived yet");
      return deliveries.get(newest.id, {});
    },
    onSuccess: (d) => {
      setSample(indented(d.body));
      setType(d.content_type);
    },
  });
  const read = useMutation({ mutationFn: () => sources.preview({ kind: source.kind, ...asked(), body: sample, content_type: type }) });
  return (
    <details className={css.preview}>
      <summary>Try it: what would be read of a body with the settings above</summary>
      <div className={css.form}>
        <Textarea
          label="A body as the sender sends it"
          description="It is read as it would be with what stands in the form, saved or not. Nothing is stored."
          value={sample}
          onChange={(e) => {
            setSample(e.currentTarget.value);
            setType("application/json");
          }}
          autosize
          minRows={4}
          maxRows={16}
          spellCheck={false}
          classNames={{ input: css.code }}
        />
        <div className={css.inline}>
          <Button variant="default" disabled={sample === ""} loading={read.isPending} onClick={() => read.mutate()}>
            Show what would be read
          </Button>
          <Button variant="default" loading={take.isPending} onClick={() => take.mutate()}>
            Take the newest delivery
          </Button>
        </div>
        {take.error && <Problem what="There is no delivery to take." error={take.error} />}
        {read.error && <Problem what="It was not read." error={read.error} />}
        {read.data && <Found preview={read.data} />}
      </div>
    </details>
  );
}

/** How many alerts are drawn of a body that may have thousands. */
const most = 50;

function Found({ preview }: { preview: Body<"Preview"> }) {
  const { alerts, truncated, problem, warnings } = preview;
  return (
    <div className={css.result} role="status">
      <p>
        <strong>{counted(alerts.length, "alert", "alerts")} would be read.</strong> {truncated > 0 && `The sender left ${truncated.toLocaleString()} out.`}
      </p>
      {problem && <p className={css.bad}>{inert(problem)}</p>}
      {warnings.map((w) => (
        <p key={w.code} className={css.once}>
          {inert(w.text)}
        </p>
      ))}
      {alerts.slice(0, most).map((a, i) => (
        <Read key={i} alert={a} />
      ))}
      {alerts.length > most && <p className="faint">And {(alerts.length - most).toLocaleString()} more.</p>}
    </div>
  );
}

function Read({ alert: a }: { alert: Alert }) {
  const labels = Object.entries(a.labels ?? {});
  const facts: [string, string | undefined][] = [
    ["Status", a.status],
    ["Identity", a.identity],
    ["Episode", a.episode],
    ["Group", a.group_key],
    ["Host", a.host],
    ["Service", a.service],
    ["Summary", a.summary],
    ["Starts", a.starts_at],
    ["Labels", labels.map(([k, v]) => `${k}=${v}`).join(", ")],
  ];
  return (
    <div className={css.read}>
      <p>
        <SeverityMark value={a.severity} chip /> <strong>{inert(a.title)}</strong>
        {a.sender_severity !== undefined && a.sender_severity !== "" && <span className="faint"> the sender says {inert(a.sender_severity)}</span>}
      </p>
      <dl>
        {facts.map(([name, value]) =>
          value ? (
            <div key={name}>
              <dt>{name}</dt>
              <dd>{inert(value)}</dd>
            </div>
          ) : null,
        )}
      </dl>
    </div>
  );
}
