import { Button, Checkbox, NativeSelect, Textarea, TextInput } from "@mantine/core";
import { useQuery, useQueryClient } from "@tanstack/react-query";
import { useState } from "react";
import { useMay } from "../accounts/may";
import { maintenance } from "../api/calls";
import type { MaintenanceWindow } from "../api/types";
import { absolute, isTime } from "../text/time";
import { inert } from "../text/visible";
import { Ends, Form, useSave } from "../ui/form";
import { MaintenanceIcon, PlusIcon } from "../ui/icons";
import kit from "../ui/kit.module.css";
import { Card, Empty, Left, LoadingRows, Page, Problem, useNow } from "../ui/parts";
import { Chip } from "../ui/state";
import css from "./grouping.module.css";
import { Remove } from "./Remove";
import { ruleFields } from "./rules";
import { dayNames, fromField, phase, toField, weekdays, weeklyText, type WindowBody } from "./windows";

/** Planned work, during which nothing is investigated. */
export function MaintenancePage() {
  const query = useQuery({ queryKey: ["maintenance-windows"], queryFn: maintenance.list });
  const mayChange = useMay()("sources.manage");
  const [open, setOpen] = useState(""); // the id of the window in the form, "new" or nothing
  const close = () => setOpen("");
  const now = useNow();
  const rank = { on: 0, next: 1, off: 2, over: 3 };
  const windows = [...(query.data ?? [])].map((w) => ({ w, p: phase(w, now) })).sort((a, b) => rank[a.p.state] - rank[b.p.state] || a.w.name.localeCompare(b.w.name));
  const add = mayChange && (
    <Button leftSection={<PlusIcon size={14} />} onClick={() => setOpen("new")}>
      New window
    </Button>
  );
  return (
    <Page
      title="Maintenance"
      lead="Planned work. Alerts that a window covers still make incidents, with a mark, and resolve them; they are investigated only if they still fire when it is over."
      action={open !== "new" && windows.length > 0 && add}
    >
      {open === "new" && <WindowForm close={close} />}
      {query.error && query.data && <Problem what="The windows could not be refreshed." error={query.error} kept="What is shown is from before." />}
      {query.error && !query.data ? (
        <Problem what="The windows could not be read." error={query.error} retry={() => void query.refetch()} />
      ) : !query.data ? (
        <Card><LoadingRows /></Card>
      ) : windows.length === 0 ? (
        open !== "new" && (
          <Card>
            <Empty art={<MaintenanceIcon size={20} />} title="No windows yet" more={add}>
              Add one before you work on something that will alert, or for what is done every week, so that no agent looks into it.
            </Empty>
          </Card>
        )
      ) : (
        <Card label="Windows">
          <ul className={css.rules}>
            {windows.map(({ w, p }) => (
              <li key={w.id} className={css.item}>
                {open === w.id ? <WindowForm window={w} close={close} /> : <Row window={w} phase={p} edit={mayChange ? () => setOpen(w.id) : undefined} />}
              </li>
            ))}
          </ul>
        </Card>
      )}
    </Page>
  );
}

function Row({ window: w, phase: p, edit }: { window: MaintenanceWindow; phase: ReturnType<typeof phase>; edit?: () => void }) {
  const client = useQueryClient();
  const refresh = () => client.invalidateQueries({ queryKey: ["maintenance-windows"] });
  return (
    <div className={`${css.rule} ${css.plain}`}>
      <div className={css.what}>
        <h2>
          {inert(w.name)}{" "}
          {p.state === "on" ? (
            <Chip tone="info">On now</Chip>
          ) : p.state === "over" ? (
            <Chip tone="quiet">Over</Chip>
          ) : p.state === "off" ? (
            <Chip tone="quiet">Turned off</Chip>
          ) : null}
        </h2>
        <dl>
          <dt>Covers</dt>
          <dd>{w.match ? <code>{inert(w.match)}</code> : "every alert"}</dd>
          <dt>When</dt>
          <dd>
            {w.days?.length ? weeklyText(w) : `${isTime(w.starts_at) ? absolute(w.starts_at) : ""} to ${isTime(w.ends_at) ? absolute(w.ends_at) : ""}`}
            {w.days?.length && isTime(w.starts_at) ? `, not before ${absolute(w.starts_at)}` : ""}
            {w.days?.length && isTime(w.ends_at) ? `, not after ${absolute(w.ends_at)}` : ""}
          </dd>
          {p.state === "on" && (
            <>
              <dt>Ends</dt>
              <dd>
                in <Left until={new Date(p.until).toISOString()} />
              </dd>
            </>
          )}
          {p.state === "next" && (
            <>
              <dt>Begins</dt>
              <dd>
                in <Left until={new Date(p.at).toISOString()} />
              </dd>
            </>
          )}
        </dl>
      </div>
      {edit && (
        <div className={css.acts}>
          <Button variant="default" size="compact-sm" onClick={edit} aria-label={`Edit ${inert(w.name)}`}>
            Edit
          </Button>
          <Remove name={w.name} remove={() => maintenance.remove(w.id)} then={refresh} />
        </div>
      )}
    </div>
  );
}

const hour = 3_600_000;

function WindowForm({ window: w, close }: { window?: MaintenanceWindow; close: () => void }) {
  const [weekly, setWeekly] = useState(Boolean(w?.days?.length));
  const [name, setName] = useState(w?.name ?? "");
  const [match, setMatch] = useState(w?.match ?? "");
  const [enabled, setEnabled] = useState(w?.enabled ?? true);
  const [opened] = useState(() => Date.now());
  const [from, setFrom] = useState(w ? toField(w.starts_at) : toField(new Date(opened).toISOString()));
  const [to, setTo] = useState(w ? toField(w.ends_at) : toField(new Date(opened + 2 * hour).toISOString()));
  const [days, setDays] = useState<readonly string[]>(w?.days ?? ["sun"]);
  const [time, setTime] = useState(w?.start_time || "02:00");
  const [minutes, setMinutes] = useState(String(w?.minutes || 120));
  const [zone, setZone] = useState(w ? w.time_zone || "UTC" : Intl.DateTimeFormat().resolvedOptions().timeZone || "UTC");
  const body: WindowBody = {
    name: name.trim(),
    match,
    enabled,
    ...(fromField(from) ? { starts_at: fromField(from) } : {}),
    ...(fromField(to) ? { ends_at: fromField(to) } : {}),
    ...(weekly ? { days: weekdays.filter((d) => days.includes(d)), start_time: time, minutes: Number(minutes), time_zone: zone.trim() } : {}),
  };
  const save = useSave(() => (w ? maintenance.replace(w.id, body) : maintenance.create(body)), "maintenance-windows", close);
  return (
    <Form className={`${css.editor} ${css.single}`} label={w ? `Edit ${inert(w.name)}` : "New window"} submit={() => save.mutate()}>
      <div className={css.fields}>
        <h2>{w ? `Edit ${inert(w.name)}` : "New window"}</h2>
        <TextInput label="Name" placeholder="Upgrade of the database" value={name} onChange={(e) => setName(e.currentTarget.value)} required maxLength={100} autoFocus />
        <Textarea
          label="Which alerts"
          description={`Matchers as in grouping rules. Empty: every alert. Fields: ${ruleFields.join(", ")}.`}
          placeholder={'service="checkout", host=~"db-.*"'}
          value={match}
          onChange={(e) => setMatch(e.currentTarget.value)}
          rows={2}
          maxLength={4096}
          spellCheck={false}
          classNames={{ input: kit.code }}
        />
        <NativeSelect
          label="How often"
          value={weekly ? "weekly" : "once"}
          onChange={(e) => {
            const now = e.currentTarget.value === "weekly";
            setWeekly(now);
            if (!w) {
              // Of a weekly window these are bounds, which few have.
              setFrom(now ? "" : toField(new Date(opened).toISOString()));
              setTo(now ? "" : toField(new Date(opened + 2 * hour).toISOString()));
            }
          }}
          data={[
            { value: "once", label: "Once" },
            { value: "weekly", label: "Every week" },
          ]}
        />
        {weekly && (
          <>
            <fieldset className={css.days}>
              <legend>Days</legend>
              {weekdays.map((d) => (
                <Checkbox
                  key={d}
                  label={dayNames[d].slice(0, 3)}
                  aria-label={dayNames[d]}
                  checked={days.includes(d)}
                  onChange={(e) => setDays(e.currentTarget.checked ? [...days, d] : days.filter((x) => x !== d))}
                />
              ))}
            </fieldset>
            <div className={css.pair}>
              <TextInput label="Begins at" type="time" value={time} onChange={(e) => setTime(e.currentTarget.value.slice(0, 5))} required />
              <TextInput label="Minutes" type="number" min={1} max={10080} value={minutes} onChange={(e) => setMinutes(e.currentTarget.value)} required />
            </div>
            <TextInput label="Time zone" description="The wall clock that counts, as Europe/Berlin." value={zone} onChange={(e) => setZone(e.currentTarget.value)} maxLength={64} required autoCapitalize="none" spellCheck={false} />
          </>
        )}
        <div className={css.pair}>
          <TextInput label={weekly ? "Not before" : "From"} description={weekly ? "Empty: no bound." : undefined} type="datetime-local" value={from} onChange={(e) => setFrom(e.currentTarget.value)} required={!weekly} />
          <TextInput label={weekly ? "Not after" : "To"} description={weekly ? "Empty: no bound." : undefined} type="datetime-local" value={to} onChange={(e) => setTo(e.currentTarget.value)} required={!weekly} />
        </div>
        <Checkbox label="The window is in force" checked={enabled} onChange={(e) => setEnabled(e.currentTarget.checked)} />
        <Ends of={save} disabled={name.trim() === "" || (weekly && days.length === 0)} close={close} className={css.buttons} />
      </div>
    </Form>
  );
}
