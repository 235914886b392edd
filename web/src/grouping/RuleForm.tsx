import { Checkbox, NativeSelect, Textarea, TextInput } from "@mantine/core";
import { useDebouncedValue } from "@mantine/hooks";
import { keepPreviousData, useQuery } from "@tanstack/react-query";
import { useState } from "react";
import { groupingRules } from "../api/calls";
import type { GroupingPreview, GroupingRule } from "../api/types";
import { messageOf } from "../api/client";
import { day } from "../text/time";
import { inert } from "../text/visible";
import { Ends, Form, useSave } from "../ui/form";
import kit from "../ui/kit.module.css";
import css from "./grouping.module.css";
import { bodyOf, inUnit, type RuleBody, ruleFields, units } from "./rules";

/** Edits a rule, or makes one, beside what it would have made of the stored alerts. */
export function RuleForm({ rule, position, close }: { rule?: GroupingRule; position: number; close: () => void }) {
  const [body, setBody] = useState<RuleBody>(rule ? bodyOf(rule) : { name: "", position, enabled: true, match: "", key: "", window: "", window_seconds: 0, min_severity: "", investigate: true, agent: "" });
  const [unit, setUnit] = useState(String(inUnit(rule?.window_seconds ?? 0).unit));
  const change = (part: Partial<RuleBody>) => setBody((b) => ({ ...b, ...part }));
  const save = useSave(() => (rule ? groupingRules.replace(rule.id, body) : groupingRules.create(body)), "grouping-rules", close);
  return (
    <Form className={css.editor} label={rule ? `Edit ${inert(rule.name)}` : "New rule"} submit={() => save.mutate()}>
      <div className={css.fields}>
        <h2>{rule ? `Edit ${inert(rule.name)}` : "New rule"}</h2>
        <TextInput label="Name" value={body.name} onChange={(e) => change({ name: e.currentTarget.value })} placeholder="One incident per cluster" required maxLength={100} autoFocus />
        <Textarea
          label="Which alerts"
          description={
            <>
              Matchers as in Alertmanager, with commas between; all must match. Empty: every alert. Fields: {ruleFields.join(", ")}.
            </>
          }
          placeholder={'source="prod", severity=~"critical|high", labels.cluster!="dev"'}
          value={body.match}
          onChange={(e) => change({ match: e.currentTarget.value })}
          rows={2}
          maxLength={4096}
          spellCheck={false}
          classNames={{ input: kit.code }}
        />
        <TextInput
          label="Become one incident by"
          description="Alerts that give the same text are one incident. Empty: as their sender groups them."
          placeholder="{{service}}/{{labels.cluster}}"
          value={body.key}
          onChange={(e) => change({ key: e.currentTarget.value })}
          maxLength={512}
          spellCheck={false}
          classNames={{ input: kit.code }}
        />
        <div className={css.pair}>
          <NativeSelect
            label="For how long"
            value={body.window}
            onChange={(e) => {
              const window = e.currentTarget.value as RuleBody["window"];
              change({ window, window_seconds: window ? body.window_seconds || 30 * Number(unit) : 0 });
            }}
            data={[
              { value: "", label: "While the incident is open" },
              { value: "rolling", label: "From the newest alert on" },
              { value: "fixed", label: "From the first alert on" },
            ]}
          />
          {body.window && (
            <div className={css.span}>
              <TextInput
                label="Length"
                type="number"
                min={1}
                value={String(Math.round((body.window_seconds ?? 0) / Number(unit)))}
                onChange={(e) => change({ window_seconds: Math.max(0, Math.round(Number(e.currentTarget.value))) * Number(unit) })}
                required
              />
              <NativeSelect
                aria-label="Unit"
                value={unit}
                onChange={(e) => {
                  const next = e.currentTarget.value;
                  change({ window_seconds: Math.round((body.window_seconds ?? 0) / Number(unit)) * Number(next) });
                  setUnit(next);
                }}
                data={units}
              />
            </div>
          )}
        </div>
        <Checkbox
          label="Investigate its incidents"
          checked={body.investigate ?? true}
          onChange={(e) => change(e.currentTarget.checked ? { investigate: true } : { investigate: false, agent: "", min_severity: "" })}
        />
        {body.investigate && (
          <div className={css.pair}>
            <NativeSelect
              label="From this severity up"
              value={body.min_severity}
              onChange={(e) => change({ min_severity: e.currentTarget.value as RuleBody["min_severity"] })}
              data={[
                { value: "", label: "Any" },
                { value: "warning", label: "Warning" },
                { value: "high", label: "High" },
                { value: "critical", label: "Critical" },
              ]}
            />
            <TextInput label="By agent" placeholder="The default one" value={body.agent} onChange={(e) => change({ agent: e.currentTarget.value.trim() })} maxLength={100} autoCapitalize="none" spellCheck={false} />
          </div>
        )}
        <Checkbox label="The rule is in force" checked={body.enabled ?? true} onChange={(e) => change({ enabled: e.currentTarget.checked })} />
        <Ends of={save} disabled={body.name.trim() === ""} close={close} className={css.buttons} />
      </div>
      <Preview replaces={rule?.id ?? ""} body={body} />
    </Form>
  );
}

/** Tries the rule against what is stored, shortly after each change. */
function Preview({ replaces, body }: { replaces: string; body: RuleBody }) {
  // What is not about grouping is left out, so that it does not ask anew.
  const [tried] = useDebouncedValue(JSON.stringify({ match: body.match, key: body.key, position: body.position, window: body.window, window_seconds: body.window_seconds }), 400);
  const query = useQuery({
    queryKey: ["grouping-preview", replaces, tried],
    queryFn: ({ signal }) => groupingRules.preview(replaces, { ...(JSON.parse(tried) as Omit<RuleBody, "name">), name: "preview" }, { signal }),
    placeholderData: keepPreviousData,
    retry: false,
    staleTime: 60_000,
    gcTime: 60_000,
  });
  return (
    <section className={css.preview} aria-label="Preview" aria-busy={query.isFetching}>
      <h2>With this rule, the last 90 days</h2>
      {query.error ? (
        <p className={css.wrong} role="alert">
          {inert(messageOf(query.error))}
        </p>
      ) : query.data ? (
        <div data-old={query.isPlaceholderData || undefined}>
          <Tried result={query.data} />
        </div>
      ) : (
        <p className="dim">It is being tried…</p>
      )}
    </section>
  );
}

function Tried({ result: p }: { result: GroupingPreview }) {
  if (p.alerts === 0) return <p className="dim">No alert is stored yet, so there is nothing to try it on.</p>;
  const fewer = p.incidents - p.would;
  return (
    <>
      <p className={css.numbers}>
        <span className="num">
          <span className="faint">{p.incidents.toLocaleString()}</span> <span aria-hidden="true">→</span>
          <span className="sr-only">to</span> <strong>{p.would.toLocaleString()}</strong>
        </span>{" "}
        incidents{fewer === 0 ? ", as many as before" : `, ${Math.abs(fewer).toLocaleString()} ${fewer > 0 ? "fewer" : "more"}`}
      </p>
      <p className="dim">
        {p.matched === 0
          ? "It would have decided none of them. Earlier rules come first, and an alert for which the whole key is empty is left to the next rule."
          : `It would have decided ${p.matched.toLocaleString()} of ${p.alerts.toLocaleString()} alerts since ${day(p.since)}.`}
        {p.truncated && " There are more: these are the newest."}
      </p>
      {p.largest.length > 0 && (
        <>
          <h3>Its largest groups</h3>
          <ul className={css.groups}>
            {p.largest.map((g) => (
              <li key={g.key}>
                <code>{inert(g.key)}</code>
                <span className="dim num">
                  {g.alerts.toLocaleString()} {g.alerts === 1 ? "alert" : "alerts"} in {g.incidents.toLocaleString()} {g.incidents === 1 ? "incident" : "incidents"}
                </span>
                <span className={`${css.titles} faint`}>{g.titles.map(inert).join(" · ")}</span>
              </li>
            ))}
          </ul>
        </>
      )}
    </>
  );
}
