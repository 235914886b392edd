import { Button } from "@mantine/core";
import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { getRouteApi, Link, useNavigate } from "@tanstack/react-router";
import { useState } from "react";
import { useMay } from "../accounts/may";
import { overview } from "../api/calls";
import type { Setup } from "../api/types";
import { inert } from "../text/visible";
import { Ago, Empty, LoadingRows, Problem, useTitle } from "../ui/parts";
import { IncidentStep } from "./IncidentStep";
import { ProviderStep } from "./ProviderStep";
import { SourceStep } from "./SourceStep";
import { firstOpen, type StepName, steps } from "./steps";
import { TargetStep } from "./TargetStep";
import css from "./wizard.module.css";

const parts = { provider: ProviderStep, source: SourceStep, target: TargetStep, incident: IncidentStep };

/**
 * The way from nothing to the first investigated incident. What is done is read
 * from what there is, so that one may leave, go another way and come back.
 */
export function WizardPage() {
  useTitle("Set-up");
  const may = useMay();
  const allowed = may("inventory.manage") && may("sources.manage");
  const search = getRouteApi("/signed-in/wizard").useSearch();
  const query = useQuery({ queryKey: ["setup-state"], queryFn: overview.setup, refetchInterval: 2_000, enabled: allowed });
  const state = query.data;
  if (!allowed) {
    return (
      <div className={css.page}>
        <h1>Set-up</h1>
        <Empty title="An admin does this">It needs the permissions to manage sources and the inventory.</Empty>
      </div>
    );
  }
  return (
    <div className={css.page}>
      <header>
        <h1>Set-up</h1>
        <p className={css.lead}>Four steps to the first investigated incident. You can leave at any time: what is done stays, and the dashboard leads back here.</p>
      </header>
      {query.error && <Problem what="How far the set-up has come could not be read." error={query.error} retry={() => void query.refetch()} />}
      {state ? <Steps state={state} asked={search.step} /> : !query.error && <LoadingRows rows={6} height={24} />}
    </div>
  );
}

function Steps({ state, asked }: { state: Setup; asked?: StepName }) {
  const navigate = useNavigate();
  const [began] = useState(() => firstOpen(state)); // a step that gets done does not slip away from under a hand
  const chosen = asked ?? began;
  const go = (step: StepName) => void navigate({ to: "/wizard", search: { step } });
  const at = steps.findIndex((s) => s.name === chosen);
  const step = steps[at];
  const next = steps[at + 1];
  const Part = parts[chosen];
  const done = state[chosen].state === "done";
  return (
    <>
      <nav aria-label="Steps">
        <ol className={css.steps}>
          {steps.map((s, n) => (
            <li key={s.name}>
              <button type="button" className={css.step} data-state={state[s.name].state} aria-current={s.name === chosen ? "step" : undefined} onClick={() => go(s.name)}>
                <b>
                  {n + 1}. {s.title}
                </b>
                <Said step={state[s.name]} />
              </button>
            </li>
          ))}
        </ol>
      </nav>
      <section className={css.body} aria-label={step?.title}>
        <header>
          <h2>{step?.title}</h2>
          <p className={css.dim}>{step?.lead}</p>
        </header>
        <Part state={state} />
      </section>
      <div className={css.foot}>
        <Leave state={state} />
        {next && (
          <Button variant={done ? "filled" : "default"} onClick={() => go(next.name)}>
            {done ? `Next: ${next.title}` : "Skip this for now"}
          </Button>
        )}
      </div>
    </>
  );
}

function Said({ step }: { step: Setup["provider"] }) {
  if (step.state === "missing") return <span>Not yet</span>;
  if (step.state === "begun") return <span>{inert(step.name)}: begun</span>;
  return (
    <span>
      ✓ {inert(step.name)}, <Ago at={step.at} suffix=" ago" plain />
    </span>
  );
}

function Leave({ state }: { state: Setup }) {
  const client = useQueryClient();
  const remind = useMutation({
    mutationFn: () => overview.dismissSetup(false),
    onSuccess: (now) => client.setQueryData(["setup-state"], now),
  });
  return (
    <div className={css.buttons}>
      <Button component={Link} to="/" variant="subtle" color="gray">
        {state.complete ? "To the dashboard" : "Leave, and come back later"}
      </Button>
      {state.dismissed_at && !state.complete && (
        <Button variant="subtle" color="gray" loading={remind.isPending} onClick={() => remind.mutate()}>
          Remind me on the dashboard again
        </Button>
      )}
    </div>
  );
}
