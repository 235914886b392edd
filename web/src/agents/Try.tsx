import { Button, Textarea, TextInput } from "@mantine/core";
import { useDebouncedValue } from "@mantine/hooks";
import { keepPreviousData, useMutation, useQuery } from "@tanstack/react-query";
import { useState } from "react";
import { policy } from "../api/calls";
import { messageOf } from "../api/client";
import type { DryRun } from "../api/types";
import { inert } from "../text/visible";
import kit from "../ui/kit.module.css";
import { Problem } from "../ui/parts";
import { argumentsOf, type Draft, effectText, layerText, linesOf, namesOf, subjects, verdicts } from "./agents";
import css from "./agents.module.css";

/** What the rules as they are written here would decide about one call, shortly after each change. */
export function Explain({ id, draft }: { id: string; draft: Draft }) {
  const [tool, setTool] = useState("ssh_execute");
  const [text, setText] = useState("systemctl restart nginx");
  const [actor, setActor] = useState("");
  const args = argumentsOf(tool, text);
  const [tried] = useDebouncedValue(JSON.stringify({ tool, arguments: args, rules: linesOf(draft.rules), tools: namesOf(draft.tools), actor: actor.trim() }), 300);
  const query = useQuery({
    queryKey: ["explain", id, tried],
    queryFn: ({ signal }) => policy.explain({ agent: id, ...(JSON.parse(tried) as { tool: string; arguments: unknown; rules: string[]; tools: string[]; actor: string }) }, { signal }),
    enabled: args !== undefined && tool !== "",
    placeholderData: keepPreviousData,
    retry: false,
    gcTime: 60_000,
  });
  const e = query.data;
  return (
    <section className={css.try} aria-labelledby="try">
      <h2 id="try">Try a call</h2>
      <TextInput label="Tool" value={tool} onChange={(ev) => setTool(ev.currentTarget.value.trim())} list="agent-tools" spellCheck={false} autoCapitalize="none" classNames={{ input: kit.code }} />
      <datalist id="agent-tools">
        {["ssh_execute", "ssh_hosts", "ssh_read_file", "zabbix_api", "zabbix_problems", "http_request"].map((t) => (
          <option key={t} value={t} />
        ))}
      </datalist>
      <Textarea
        label={subjects[tool] ? subjects[tool].charAt(0).toUpperCase() + subjects[tool].slice(1) : "Arguments, as JSON"}
        value={text}
        onChange={(ev) => setText(ev.currentTarget.value)}
        autosize
        minRows={2}
        maxRows={8}
        spellCheck={false}
        error={args === undefined ? "This is not a JSON object." : undefined}
        classNames={{ input: kit.code }}
      />
      <TextInput label="Started by" placeholder="Anybody, or user:ann, alert:*" value={actor} onChange={(ev) => setActor(ev.currentTarget.value)} spellCheck={false} autoCapitalize="none" />
      <div role="status" aria-live="polite">
        {query.error ? (
          <p className={css.wrong}>{inert(messageOf(query.error))}</p>
        ) : (
          e && (
            <div className={css.answer} data-old={query.isPlaceholderData || undefined}>
              <p>
                <span className={css.verdict} data-verdict={e.verdict}>
                  {verdicts[e.verdict]}
                </span>{" "}
                {e.layer && <span className="faint">by {layerText(e.layer)}</span>}
              </p>
              <dl>
                {e.rule && (
                  <>
                    <dt>Rule</dt>
                    <dd>
                      <code>{inert(e.rule)}</code>
                    </dd>
                  </>
                )}
                <dt>Why</dt>
                <dd>{e.reasons.map(inert).join("; ")}</dd>
                {e.canonical && e.canonical !== text && (
                  <>
                    <dt>Runs as</dt>
                    <dd>
                      <code>{inert(e.canonical)}</code>
                    </dd>
                  </>
                )}
                <dt>Does</dt>
                <dd>
                  {effectText(e.effect)}, {e.risk} risk
                </dd>
                {e.roles.length > 0 && (
                  <>
                    <dt>Roles</dt>
                    <dd>{e.roles.map(inert).join(", ")}</dd>
                  </>
                )}
                {e.would_allow.length > 0 && (
                  <>
                    <dt>Would allow it</dt>
                    <dd>
                      {e.would_allow.map((r) => (
                        <code key={r}>{inert(r)}</code>
                      ))}
                    </dd>
                  </>
                )}
              </dl>
              {e.warnings.length > 0 && (
                <ul className={css.warnings} aria-label="Rules that can never decide">
                  {e.warnings.map((w) => (
                    <li key={w}>{inert(w)}</li>
                  ))}
                </ul>
              )}
            </div>
          )
        )}
      </div>
    </section>
  );
}

const words: Record<string, string> = { allow: "allowed", ask: "asked", deny: "denied" };

/** What the rules as they are written here would have changed about the calls of the last week. */
export function DryRunPanel({ id, draft, dirty }: { id: string; draft: Draft; dirty: boolean }) {
  const run = useMutation({ mutationFn: (rules: string[]) => policy.dryRun({ agent: id, rules, days: 7 }) });
  const fresh = run.variables !== undefined && JSON.stringify(run.variables) === JSON.stringify(linesOf(draft.rules));
  return (
    <section className={css.try} aria-labelledby="dry-run">
      <h2 id="dry-run">What would change</h2>
      <p className="faint">These rules against the calls of the last seven days.</p>
      <div>
        <Button variant="default" size="compact-sm" loading={run.isPending} disabled={!dirty} onClick={() => run.mutate(linesOf(draft.rules))}>
          Compare
        </Button>
      </div>
      {run.error && <Problem what="Nothing was compared." error={run.error} />}
      {run.data && fresh && <Changes of={run.data} />}
    </section>
  );
}

function Changes({ of: d }: { of: DryRun }) {
  const seen = `${d.calls} calls were looked at${d.partial ? "; older ones were not" : ""}.`;
  if (d.changed.length === 0) return <p role="status">Nothing would change. {seen}</p>;
  return (
    <div role="status">
      <ul className={css.sums}>
        {d.changed.map((c) => (
          <li key={c.before + c.after}>
            <strong>{c.calls}</strong> {words[c.before]} before, {words[c.after]} now
          </li>
        ))}
      </ul>
      <ul className={css.examples}>
        {d.examples.slice(0, 20).map((x) => (
          <li key={x.call_id + x.run_id}>
            <span className={css.verdict} data-verdict={x.after}>
              {verdicts[x.after as keyof typeof verdicts]}
            </span>{" "}
            <code>
              {inert(x.tool)} {inert(JSON.stringify(x.arguments))}
            </code>
            {x.calls > 1 && <span className="faint"> {x.calls} times</span>}
          </li>
        ))}
      </ul>
      <p className="faint">{seen}</p>
    </div>
  );
}
