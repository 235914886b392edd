import { Button, Checkbox, NativeSelect, Switch, TextInput } from "@mantine/core";
import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { useState } from "react";
import { effects, namesOf } from "../agents/agents";
import { gatekeeper } from "../api/calls";
import type { Body, Gatekeeper as Settings } from "../api/types";
import { Ago, Card, LoadingRows, Problem } from "../ui/parts";
import css from "./ApprovalsPage.module.css";

/** How a model reviews what agents ask for, and what it may approve by itself. */
export function Gatekeeper({ mayChange }: { mayChange: boolean }) {
  const query = useQuery({ queryKey: ["gatekeeper"], queryFn: gatekeeper.get });
  if (query.error && !query.data) return <Problem what="The settings could not be read." error={query.error} retry={() => void query.refetch()} />;
  if (!query.data) return <LoadingRows rows={4} />;
  return <Form key={query.data.version} settings={query.data} mayChange={mayChange} />;
}

const offered = ["reads", "changes", "exposure", "privilege", "destroys"] as const;

function Form({ settings: s, mayChange }: { settings: Settings; mayChange: boolean }) {
  const [enabled, setEnabled] = useState(s.enabled);
  const [threshold, setThreshold] = useState(s.threshold);
  const [chosen, setChosen] = useState<string[]>(s.effects);
  const [tools, setTools] = useState(s.tools.join(" "));
  const [provider, setProvider] = useState(s.provider ?? "");
  const [hourly, setHourly] = useState(String(s.hourly));
  const client = useQueryClient();
  const save = useMutation({
    mutationFn: () =>
      gatekeeper.put({ enabled, threshold: threshold as Body<"GatekeeperBody">["threshold"], effects: chosen, tools: namesOf(tools), provider: provider.trim(), hourly: Number(hourly) }),
    onSuccess: (now) => client.setQueryData(["gatekeeper"], now),
  });
  return (
    <Card label="AI review">
      <form
        className={css.settings}
        autoComplete="off"
        onSubmit={(e) => {
          e.preventDefault();
          save.mutate();
        }}
      >
        <p className="dim">
          A model rates calls that wait here. It sees the call, its target and why it is asked; never what a tool has printed. At or below the highest rating, it approves what is chosen below, and the timeline says so. What a rule
          denies it never sees. Without exactly the answer that is asked for, people decide.
        </p>
        <fieldset className={css.fields} disabled={!mayChange}>
          <Switch label="Have a model review what is asked" checked={enabled} onChange={(e) => setEnabled(e.currentTarget.checked)} />
          <fieldset className={css.boxes}>
            <legend>It may approve what</legend>
            {offered.map((e) => (
              <Checkbox
                key={e}
                label={effects[e].charAt(0).toLowerCase() + effects[e].slice(1)}
                checked={chosen.includes(e)}
                onChange={(ev) => setChosen(ev.currentTarget.checked ? [...chosen, e] : chosen.filter((x) => x !== e))}
              />
            ))}
            <p className="faint">What is not known always waits for people.</p>
          </fieldset>
          <TextInput
            label="With these tools"
            description="Names with blanks between, or prefix*. Empty: none."
            placeholder="ssh_execute"
            value={tools}
            onChange={(e) => setTools(e.currentTarget.value)}
            spellCheck={false}
            autoCapitalize="none"
          />
          <NativeSelect
            label="If it rates the risk"
            value={threshold}
            onChange={(e) => setThreshold(e.currentTarget.value)}
            data={[
              { value: "low", label: "low" },
              { value: "medium", label: "low or medium" },
              { value: "high", label: "low, medium or high" },
            ]}
          />
          <TextInput label="LLM provider" placeholder="The default one" value={provider} onChange={(e) => setProvider(e.currentTarget.value)} spellCheck={false} autoCapitalize="none" />
          <TextInput label="Reviews within an hour, at most" type="number" min={1} max={1000} value={hourly} onChange={(e) => setHourly(e.currentTarget.value)} required />
        </fieldset>
        {save.error && <Problem what="Nothing was saved." error={save.error} />}
        {mayChange ? (
          <div>
            <Button type="submit" loading={save.isPending}>
              Save
            </Button>{" "}
            <span className="faint">
              in force since <Ago at={s.updated_at} suffix=" ago" />
            </span>
          </div>
        ) : (
          <p className="faint">Your roles do not let you change this.</p>
        )}
      </form>
    </Card>
  );
}
