import { Button, Checkbox, NativeSelect, TextInput } from "@mantine/core";
import { useQuery, useQueryClient } from "@tanstack/react-query";
import { useState } from "react";
import { useMay } from "../accounts/may";
import { memoryRules, sources } from "../api/calls";
import type { MemoryRule } from "../api/types";
import { Remove } from "../grouping/Remove";
import { inert } from "../text/visible";
import { Ends, Form, useSave } from "../ui/form";
import { Card, Empty, LoadingRows, Problem } from "../ui/parts";
import { Chip } from "../ui/state";
import css from "./memory.module.css";

/** Which findings are remembered without a person: none, unless an admin says so. */
export function Rules() {
  const query = useQuery({ queryKey: ["memory-rules"], queryFn: memoryRules.list });
  const names = useQuery({ queryKey: ["sources"], queryFn: sources.list });
  const mayChange = useMay()("agents.manage");
  const [open, setOpen] = useState("");
  const close = () => setOpen("");
  const client = useQueryClient();
  const sourceName = (id: string) => inert(names.data?.find((s) => s.id === id)?.name ?? id);
  return (
    <section className={css.rules} aria-label="Rules">
      <div className={css.rulesHead}>
        <div>
          <h2>Without a person</h2>
          <p>Findings that a rule names are remembered by themselves, unless somebody has called them wrong.</p>
        </div>
        {mayChange && open !== "new" && (
          <Button variant="default" onClick={() => setOpen("new")}>
            New rule
          </Button>
        )}
      </div>
      {query.error && !query.data ? (
        <Problem what="The rules could not be read." error={query.error} retry={() => void query.refetch()} />
      ) : !query.data ? (
        <Card>
          <LoadingRows rows={2} />
        </Card>
      ) : (
        <Card label="Rules">
          {query.data.length === 0 && open !== "new" && <Empty title="No rules">Only people have findings remembered.</Empty>}
          <ul className={css.list}>
            {open === "new" && (
              <li>
                <RuleForm close={close} />
              </li>
            )}
            {query.data.map((r) => (
              <li key={r.id}>
                {open === r.id ? (
                  <RuleForm rule={r} close={close} />
                ) : (
                  <div className={css.item}>
                    <div>
                      <h3>
                        {inert(r.name)} {!r.enabled && <Chip tone="quiet">Turned off</Chip>}
                      </h3>
                      <p className="dim">
                        From {Math.round(r.min_confidence * 100)} % confidence{r.needs_feedback ? ", once a person has called them right" : ""}
                        {r.service && <>; service {inert(r.service)}</>}
                        {r.source_id && <>; source {sourceName(r.source_id)}</>}
                      </p>
                    </div>
                    {mayChange && (
                      <div className={css.acts}>
                        <Button variant="default" size="compact-sm" onClick={() => setOpen(r.id)} aria-label={`Edit ${inert(r.name)}`}>
                          Edit
                        </Button>
                        <Remove name={r.name} remove={() => memoryRules.remove(r.id)} then={() => client.invalidateQueries({ queryKey: ["memory-rules"] })} />
                      </div>
                    )}
                  </div>
                )}
              </li>
            ))}
          </ul>
        </Card>
      )}
    </section>
  );
}

function RuleForm({ rule, close }: { rule?: MemoryRule; close: () => void }) {
  const known = useQuery({ queryKey: ["sources"], queryFn: sources.list });
  const [name, setName] = useState(rule?.name ?? "");
  const [enabled, setEnabled] = useState(rule?.enabled ?? false);
  const [source, setSource] = useState(rule?.source_id ?? "");
  const [service, setService] = useState(rule?.service ?? "");
  const [confidence, setConfidence] = useState(String(Math.round((rule?.min_confidence ?? 0.9) * 100)));
  const [feedback, setFeedback] = useState(rule?.needs_feedback ?? true);
  const body = { name: name.trim(), enabled, source_id: source, service: service.trim(), min_confidence: Number(confidence) / 100, needs_feedback: feedback };
  const save = useSave(() => (rule ? memoryRules.replace(rule.id, body) : memoryRules.create(body)), "memory-rules", close);
  const sure = Number(confidence) >= 50 && Number(confidence) <= 100;
  return (
    <Form className={css.form} label={rule ? `Edit ${inert(rule.name)}` : "New rule"} submit={() => save.mutate()}>
      <TextInput label="Name" value={name} onChange={(e) => setName(e.currentTarget.value)} maxLength={100} required autoFocus />
      <div className={css.pair}>
        <NativeSelect
          label="Source"
          value={source}
          onChange={(e) => setSource(e.currentTarget.value)}
          data={[{ value: "", label: "All" }, ...(known.data ?? []).map((s) => ({ value: s.id, label: inert(s.name) }))]}
        />
        <TextInput label="Service" placeholder="shop-*" value={service} onChange={(e) => setService(e.currentTarget.value)} maxLength={100} spellCheck={false} autoCapitalize="none" />
      </div>
      <TextInput
        label="Confidence from, in percent"
        value={confidence}
        onChange={(e) => setConfidence(e.currentTarget.value)}
        inputMode="numeric"
        maxLength={3}
        error={sure ? undefined : "From 50 to 100."}
      />
      <Checkbox label="Only once a person has called the findings right" checked={feedback} onChange={(e) => setFeedback(e.currentTarget.checked)} />
      <Checkbox label="The rule is in force, for findings from now on" checked={enabled} onChange={(e) => setEnabled(e.currentTarget.checked)} />
      <Ends of={save} disabled={name.trim() === "" || !sure} close={close} className={css.buttons} />
    </Form>
  );
}
