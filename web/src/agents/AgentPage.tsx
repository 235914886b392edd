import { Button, Textarea, TextInput } from "@mantine/core";
import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { getRouteApi, useNavigate } from "@tanstack/react-router";
import { useState } from "react";
import { useMay } from "../accounts/may";
import { agents, providers } from "../api/calls";
import { messageOf } from "../api/client";
import type { Agent } from "../api/types";
import { Remove } from "../grouping/Remove";
import { inert } from "../text/visible";
import { Form } from "../ui/form";
import kit from "../ui/kit.module.css";
import { Ago, Card, LoadingRows, Page, Problem } from "../ui/parts";
import { Chip } from "../ui/state";
import { bodyOf, type Draft, draftOf, faultyLine } from "./agents";
import css from "./agents.module.css";
import { DryRunPanel, Explain } from "./Try";

/** One agent: what it is told, what it may do, and what its rules would decide before they are saved. */
export function AgentPage() {
  const { id } = getRouteApi("/signed-in/agents/$id").useParams();
  const query = useQuery({ queryKey: ["agents", id], queryFn: ({ signal }) => agents.get(id, { signal }) });
  const [edition, setEdition] = useState(0);
  if (query.error && !query.data) {
    return (
      <Page title={inert(id)}>
        <Problem what="The agent could not be read." error={query.error} retry={() => void query.refetch()} />
      </Page>
    );
  }
  if (!query.data) {
    return (
      <Page title={inert(id)}>
        <Card>
          <LoadingRows />
        </Card>
      </Page>
    );
  }
  return <Editor key={`${id} ${edition}`} agent={query.data} renew={() => setEdition((n) => n + 1)} />;
}

function Editor({ agent, renew }: { agent: Agent; renew: () => void }) {
  const mayChange = useMay()("agents.manage");
  // What is in force while one writes may change: the draft is against what it began with.
  const [base, setBase] = useState(agent);
  const [draft, setDraft] = useState<Draft>(() => draftOf(agent));
  const change = (part: Partial<Draft>) => setDraft((d) => ({ ...d, ...part }));
  const client = useQueryClient();
  const navigate = useNavigate();
  const stored = (now: Agent) => {
    client.setQueryData(["agents", now.id], now);
    void client.invalidateQueries({ queryKey: ["agents"], exact: true });
    setBase(now);
    setDraft(draftOf(now));
  };
  const save = useMutation({ mutationFn: () => agents.replace(base.id, bodyOf(draft, base)), onSuccess: stored });
  const toggle = useMutation({
    mutationFn: () => agents.replace(base.id, { ...bodyOf(draftOf(base), base), disabled: !base.disabled_at }),
    onSuccess: stored,
  });
  const dirty = JSON.stringify(draft) !== JSON.stringify(draftOf(base));
  const wrong = save.error ? faultyLine(messageOf(save.error), draft.rules) : -1;
  const providerList = useQuery({ queryKey: ["providers"], queryFn: providers.list });
  return (
    <Page
      title={inert(base.id)}
      lead={base.built_in ? "The default agent: what alerts open, it investigates." : base.starter
            ? "It came with Akmatori. Other agents ask it, and people start it by its name."
            : "An agent of your own. Grouping rules, people and other agents start it by its name."}
      action={
        mayChange && (
          <div className={css.acts}>
            {base.starter && <Reset id={base.id} done={stored} />}
            {!base.built_in && (
              <>
                <Button variant="default" size="compact-sm" loading={toggle.isPending} onClick={() => toggle.mutate()}>
                  {base.disabled_at ? "Enable" : "Disable"}
                </Button>
                <Remove
                  name={base.id}
                  remove={() => agents.remove(base.id)}
                  then={async () => {
                    await client.invalidateQueries({ queryKey: ["agents"], exact: true });
                    client.removeQueries({ queryKey: ["agents", base.id] });
                    await navigate({ to: "/agents" });
                  }}
                />
              </>
            )}
          </div>
        )
      }
    >
      {base.disabled_at && (
        <p className={kit.note} role="status">
          <Chip tone="warning">Disabled</Chip> since <Ago at={base.disabled_at} suffix=" ago" />: nobody starts it, and its runs may call nothing.
        </p>
      )}
      {agent.updated_at !== base.updated_at && (
        <div className={kit.note} role="status">
          Somebody has changed this agent meanwhile. Saving here would undo that.{" "}
          <Button variant="default" size="compact-sm" onClick={renew}>
            Show what is in force
          </Button>
        </div>
      )}
      <div className={css.editor}>
        <Form className={css.fields} label={`Edit ${inert(base.id)}`} submit={() => save.mutate()}>
          <TextInput label="Description" value={draft.description} onChange={(e) => change({ description: e.currentTarget.value })} maxLength={500} readOnly={!mayChange} />
          <Textarea
            label="Rules"
            description="One a line: allow:, ask: or deny: and what it is about. The first that matches decides; what none matches is asked."
            placeholder={"deny:ssh_execute(rm *)\nallow:ssh_execute(@diagnostics)\nallow:ssh_execute(systemctl restart nginx)"}
            value={draft.rules}
            onChange={(e) => change({ rules: e.currentTarget.value })}
            autosize
            minRows={8}
            maxRows={24}
            spellCheck={false}
            readOnly={!mayChange}
            error={wrong >= 0 ? `Line ${wrong + 1}: ${inert(draft.rules.split("\n")[wrong] ?? "")}` : undefined}
            classNames={{ input: kit.code }}
          />
          {base.warnings.length > 0 && !dirty && (
            <ul className={css.warnings} aria-label="Warnings">
              {base.warnings.map((w) => (
                <li key={w}>{inert(w)}</li>
              ))}
            </ul>
          )}
          <TextInput
            label="Tools"
            description="Names with blanks between, or prefix*. Empty: all. It does not allow what the rules do not."
            placeholder="ssh_* zabbix_problems"
            value={draft.tools}
            onChange={(e) => change({ tools: e.currentTarget.value })}
            spellCheck={false}
            autoCapitalize="none"
            readOnly={!mayChange}
            classNames={{ input: kit.code }}
          />
          <TextInput
            label="May ask"
            description="Other agents, with blanks between: it can give them tasks, if who started it may start them too. Never in a circle."
            placeholder="reviewer"
            value={draft.sub_agents}
            onChange={(e) => change({ sub_agents: e.currentTarget.value })}
            spellCheck={false}
            autoCapitalize="none"
            readOnly={!mayChange}
            classNames={{ input: kit.code }}
          />
          <div className={css.pair}>
            {names.map(([field, label, description]) => (
              <TextInput
                key={field}
                label={label}
                description={description}
                value={draft[field]}
                onChange={(e) => change({ [field]: e.currentTarget.value })}
                spellCheck={false}
                autoCapitalize="none"
                readOnly={!mayChange}
                classNames={{ input: kit.code }}
              />
            ))}
          </div>
          <Textarea
            label="Prompt"
            description="What it is told. Empty: as it comes with Akmatori."
            value={draft.prompt}
            onChange={(e) => change({ prompt: e.currentTarget.value })}
            autosize
            minRows={3}
            maxRows={20}
            maxLength={50_000}
            readOnly={!mayChange}
          />
          <div className={css.pair}>
            <TextInput
              label="LLM provider"
              placeholder="The default one"
              value={draft.provider}
              onChange={(e) => change({ provider: e.currentTarget.value.trim() })}
              list="agent-providers"
              readOnly={!mayChange}
              spellCheck={false}
            />
            <datalist id="agent-providers">
              {(providerList.data ?? []).map((p) => (
                <option key={p.id} value={p.name} />
              ))}
            </datalist>
            <TextInput label="Turns at most" placeholder="As it comes" type="number" min={0} max={1000} value={draft.steps} onChange={(e) => change({ steps: e.currentTarget.value })} readOnly={!mayChange} />
            <TextInput label="Tool calls at most" placeholder="As it comes" type="number" min={0} max={10_000} value={draft.tool_calls} onChange={(e) => change({ tool_calls: e.currentTarget.value })} readOnly={!mayChange} />
            <TextInput label="Minutes at most" placeholder="As it comes" type="number" min={0} max={1440} step="any" value={draft.minutes} onChange={(e) => change({ minutes: e.currentTarget.value })} readOnly={!mayChange} />
            <TextInput label="Tokens at most" placeholder="As it comes" type="number" min={0} max={1_000_000_000} value={draft.tokens} onChange={(e) => change({ tokens: e.currentTarget.value })} readOnly={!mayChange} />
            <TextInput label="US dollars at most" placeholder="As it comes" type="number" min={0} max={10_000} step="any" value={draft.usd} onChange={(e) => change({ usd: e.currentTarget.value })} readOnly={!mayChange} />
          </div>
          {save.error && <Problem what="Nothing was saved." error={save.error} />}
          {toggle.error && <Problem what="Nothing was changed." error={toggle.error} />}
          {mayChange && (
            <div className={css.buttons}>
              <Button type="submit" loading={save.isPending} disabled={!dirty}>
                Save
              </Button>
              {dirty && (
                <Button variant="default" onClick={() => setDraft(draftOf(base))}>
                  Discard
                </Button>
              )}
              {save.isSuccess && !dirty && <span role="status">Saved. It holds from the next call on.</span>}
            </div>
          )}
        </Form>
        {mayChange && (
          <div className={css.side}>
            <Explain id={base.id} draft={draft} />
            <DryRunPanel id={base.id} draft={draft} dirty={dirty} />
          </div>
        )}
      </div>
    </Page>
  );
}

/** Where and with what its tools work, and what it may read. */
const names = [
  ["targets", "Targets", "Names or globs. Empty: all."],
  ["credentials", "Credentials", "Names or globs. Empty: all."],
  ["skills", "Skills", "Names. * is all, empty is none."],
] as const;

/** Asks once more in place: the second press is the decision. */
function Reset({ id, done }: { id: string; done: (now: Agent) => void }) {
  const [sure, setSure] = useState(false);
  const reset = useMutation({ mutationFn: () => agents.reset(id), onSuccess: done, onSettled: () => setSure(false) });
  return (
    <>
      <Button
        variant={sure ? "filled" : "default"}
        color={sure ? "red" : undefined}
        size="compact-sm"
        loading={reset.isPending}
        onClick={() => (sure ? reset.mutate() : setSure(true))}
        onBlur={() => setSure(false)}
      >
        {sure ? "Really reset" : "Reset"}
      </Button>
      {reset.error && <p role="alert">{inert(messageOf(reset.error))}</p>}
    </>
  );
}
