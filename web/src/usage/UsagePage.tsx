import { Button, NativeSelect, NumberInput, SegmentedControl } from "@mantine/core";
import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { type ReactNode, useState } from "react";
import { useMay } from "../accounts/may";
import { sources, usage } from "../api/calls";
import type { Budget, DayUsage } from "../api/types";
import { Chart } from "../charts/Chart";
import { compact, count, usd } from "../charts/numbers";
import { dayName } from "../dashboard/dashboard";
import table from "../settings/settings.module.css";
import { inert } from "../text/visible";
import { Ends, Form } from "../ui/form";
import kit from "../ui/kit.module.css";
import { Ago, Card, Empty, LoadingRows, Page, Problem } from "../ui/parts";
import css from "./usage.module.css";
import { byDay, byName, bySource, type Line, used } from "./usage";

/** What investigations cost, by what, and what may be spent. */
export function UsagePage() {
  const [days, setDays] = useState(30);
  const spent = useQuery({ queryKey: ["usage", days], queryFn: (o) => usage.days(days, o), refetchInterval: 15_000 });
  const parts = useQuery({ queryKey: ["usage", "parts", days], queryFn: (o) => usage.parts(days, o), refetchInterval: 15_000 });
  const error = spent.error ?? parts.error;
  const retry = () => {
    void spent.refetch();
    void parts.refetch();
  };
  return (
    <Page
      title="Usage and cost"
      lead="What the models read and wrote, and what it cost as far as prices are known. A day begins at midnight UTC."
      action={
        <SegmentedControl
          aria-label="How far back"
          value={String(days)}
          onChange={(v) => setDays(Number(v))}
          data={[
            { value: "7", label: "7 days" },
            { value: "30", label: "30 days" },
            { value: "90", label: "90 days" },
          ]}
        />
      }
    >
      {spent.data && parts.data ? (
        <div className={kit.parts}>
          {error && <Problem what="This could not be refreshed." error={error} kept="What is shown is from before." />}
          {spent.data.length === 0 ? (
            <Card>
              <Empty title="Nothing was used yet">The first investigation is counted here.</Empty>
            </Card>
          ) : (
            <Spent spent={spent.data} days={days}>
              <Lines title="By source" of="Investigations" lines={bySource(spent.data)} />
              <Lines title="By agent" of="Investigations" lines={byName(parts.data, "agent")} />
              <Lines title="By model" of="Turns" lines={byName(parts.data, "model")} />
            </Spent>
          )}
          <Budgets spent={spent.data} />
        </div>
      ) : error ? (
        <Problem what="The usage could not be read." error={error} retry={retry} />
      ) : (
        <Card>
          <LoadingRows rows={8} />
        </Card>
      )}
    </Page>
  );
}

function Spent({ spent, days, children }: { spent: DayUsage[]; days: number; children: ReactNode }) {
  const all = byDay(spent, days, new Date());
  const x = all.map((d) => Date.parse(d.day) / 1000);
  const sum = (of: (d: (typeof all)[number]) => number) => all.reduce((n, d) => n + of(d), 0);
  const unpriced = sum((d) => d.unpriced);
  return (
    <>
      <section className={css.box} aria-label="By day">
        <Chart
          title="Cost"
          says={`${usd(sum((d) => d.usd))} in ${days} days for ${count(
            sum((d) => d.runs),
            "investigation",
          )}.${unpriced > 0 ? ` It leaves out ${count(unpriced, "turn")} whose price nobody knows: give the provider a price.` : ""}`}
          x={x}
          name={dayName}
          column="Day (UTC)"
          whole={false}
          series={[{ label: "US dollars", values: all.map((d) => d.usd), tone: "accent", draw: "bars", format: usd }]}
        />
        <Chart
          title="Tokens"
          says={`${compact(sum((d) => d.input))} read and ${compact(sum((d) => d.output))} written.`}
          x={x}
          name={dayName}
          column="Day (UTC)"
          height={140}
          series={[
            { label: "Read", values: all.map((d) => d.input), tone: "accent", draw: "bars", format: compact },
            { label: "Written", values: all.map((d) => d.output), tone: "critical", draw: "line", format: compact },
          ]}
        />
      </section>
      {children}
    </>
  );
}

function Lines({ title, of, lines }: { title: string; of: string; lines: Line[] }) {
  if (lines.length === 0) return null;
  return (
    <section aria-label={title} className={kit.part}>
      <h2>{title}</h2>
      <Card label={title}>
        <table className={table.table}>
          <thead>
            <tr>
              <th scope="col">Name</th>
              <th scope="col">{of}</th>
              <th scope="col">Tokens read</th>
              <th scope="col">Written</th>
              <th scope="col" className={table.end}>
                Cost
              </th>
            </tr>
          </thead>
          <tbody>
            {lines.map((l) => (
              <tr key={l.name}>
                <td data-label="Name">
                  <div className={css.long}>{inert(l.name)}</div>
                </td>
                <td data-label={of}>
                  <div className="num">{l.count.toLocaleString("en")}</div>
                </td>
                <td data-label="Tokens read">
                  <div className="num">{compact(l.input)}</div>
                </td>
                <td data-label="Written">
                  <div className="num">{compact(l.output)}</div>
                </td>
                <td data-label="Cost" className={table.end}>
                  <div className="num">{l.usd === 0 && l.unpriced > 0 ? "not known" : usd(l.usd)}</div>
                </td>
              </tr>
            ))}
          </tbody>
        </table>
      </Card>
    </section>
  );
}

function Budgets({ spent }: { spent: DayUsage[] }) {
  const may = useMay()("agents.manage");
  const client = useQueryClient();
  const query = useQuery({ queryKey: ["budgets"], queryFn: usage.budgets });
  const from = useQuery({ queryKey: ["sources"], queryFn: sources.list });
  const [editing, setEditing] = useState<string>();
  const refresh = () => void client.invalidateQueries({ queryKey: ["budgets"] });
  const remove = useMutation({ mutationFn: usage.removeBudget, onSuccess: refresh });
  const name = (scope: string) => (scope === "all" ? "All investigations" : inert(from.data?.find((s) => s.id === scope)?.name ?? "a removed source"));
  const budgets = query.data ?? [];
  return (
    <section aria-label="Budgets" className={kit.part}>
      <div className={css.head}>
        <div>
          <h2>Budgets</h2>
          <p className={css.dim}>What may be spent in a day. Above it no investigation is started, and one that is under way concludes.</p>
        </div>
        {may && editing === undefined && (
          <Button variant="default" onClick={() => setEditing("")}>
            Set a budget
          </Button>
        )}
      </div>
      {editing !== undefined && (
        <BudgetForm
          key={editing}
          budget={budgets.find((b) => b.scope === editing)}
          choices={[{ value: "all", label: "All investigations" }, ...(from.data ?? []).map((s) => ({ value: s.id, label: inert(s.name) }))]}
          done={() => {
            refresh();
            setEditing(undefined);
          }}
          cancel={() => setEditing(undefined)}
        />
      )}
      {remove.error && <Problem what="The budget was not removed." error={remove.error} />}
      {query.error && !query.data ? (
        <Problem what="The budgets could not be read." error={query.error} retry={() => void query.refetch()} />
      ) : budgets.length === 0 ? (
        <p className={css.dim}>There is none: nothing bounds what is spent in a day.</p>
      ) : (
        <ul className={css.budgets}>
          {budgets.map((b) => (
            <li key={b.scope}>
              <div className={css.head}>
                <strong>{name(b.scope)}</strong>
                {may && (
                  <span className={css.buttons}>
                    <Button size="compact-sm" variant="default" onClick={() => setEditing(b.scope)} aria-label={`Change the budget of ${name(b.scope)}`}>
                      Change
                    </Button>
                    <Button size="compact-sm" variant="default" loading={remove.isPending} onClick={() => remove.mutate(b.scope)} aria-label={`Remove the budget of ${name(b.scope)}`}>
                      Remove
                    </Button>
                  </span>
                )}
              </div>
              <dl className={css.bounds}>
                {used(b, spent, new Date()).map((u) => (
                  <div key={u.name}>
                    <dt>{u.name} today</dt>
                    <dd>
                      <meter min={0} max={1} value={Math.min(1, u.part)} high={0.8} low={0.8} optimum={0} aria-label={`${u.name} today`} />
                      <span className="num">
                        {u.used} of {u.bound} ({Math.round(u.part * 100)} %)
                      </span>
                    </dd>
                  </div>
                ))}
              </dl>
              <p className={css.dim}>
                Set by {inert((b.updated_by ?? "").replace(/^user:/, ""))} <Ago at={b.updated_at} suffix=" ago" />
              </p>
            </li>
          ))}
        </ul>
      )}
    </section>
  );
}

function BudgetForm({ budget, choices, done, cancel }: { budget?: Budget; choices: { value: string; label: string }[]; done: () => void; cancel: () => void }) {
  const save = useMutation({
    mutationFn: (form: FormData) => {
      const n = (name: string) => Number(String(form.get(name) ?? "").replaceAll(" ", "")) || 0;
      return usage.setBudget(budget?.scope ?? String(form.get("scope")), { runs: n("runs"), tokens: n("tokens"), usd: n("usd") });
    },
    onSuccess: done,
  });
  return (
    <Form className={table.form} submit={(form) => save.mutate(form)} label="Budget of a day">
      <div className={table.fields}>
        {budget ? null : <NativeSelect name="scope" label="For" data={choices} />}
        <NumberInput name="runs" label="Investigations a day" description="Empty is no bound." min={0} max={1_000_000} allowDecimal={false} defaultValue={budget?.runs || ""} />
        <NumberInput name="tokens" label="Tokens a day" description="Read and written. Empty is no bound." min={0} thousandSeparator=" " allowDecimal={false} defaultValue={budget?.tokens || ""} />
        <NumberInput name="usd" label="US dollars a day" description="As far as prices are known. Empty is no bound." min={0} max={1_000_000} decimalScale={2} defaultValue={budget?.usd || ""} />
      </div>
      <Ends of={save} close={cancel} className={table.buttons} />
    </Form>
  );
}
