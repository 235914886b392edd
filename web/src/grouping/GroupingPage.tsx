import { ActionIcon, Button } from "@mantine/core";
import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { useState } from "react";
import { useMay } from "../accounts/may";
import { groupingRules } from "../api/calls";
import { messageOf } from "../api/client";
import type { GroupingRule } from "../api/types";
import { inert } from "../text/visible";
import { DownIcon, GroupIcon, PlusIcon } from "../ui/icons";
import { Ago, Card, Empty, LoadingRows, Page, Problem } from "../ui/parts";
import { Chip } from "../ui/state";
import css from "./grouping.module.css";
import { Remove } from "./Remove";
import { RuleForm } from "./RuleForm";
import { bodyOf, inOrder, lastPosition, moved, windowText } from "./rules";

/** Which alerts become one incident: the rules in the order in which they are tried. */
export function GroupingPage() {
  const query = useQuery({ queryKey: ["grouping-rules"], queryFn: groupingRules.list });
  const mayChange = useMay()("sources.manage");
  const [open, setOpen] = useState(""); // the id of the rule in the editor, "new" or nothing
  const close = () => setOpen("");
  const client = useQueryClient();
  const move = useMutation({
    mutationFn: async ({ rule, past }: { rule: GroupingRule; past: GroupingRule | undefined }) => {
      const now = inOrder(await groupingRules.list({}));
      const place = (id: string | undefined) => now.findIndex((r) => r.id === id);
      for (const { rule: r, position } of moved(now, place(rule.id), place(past?.id))) await groupingRules.replace(r.id, { ...bodyOf(r), position });
    },
    onSettled: () => client.invalidateQueries({ queryKey: ["grouping-rules"] }),
  });
  const rules = inOrder(query.data ?? []);
  const add = mayChange && (
    <Button leftSection={<PlusIcon size={14} />} onClick={() => setOpen("new")}>
      New rule
    </Button>
  );
  return (
    <Page
      title="Grouping rules"
      lead="Which alerts become one incident. Rules are tried from the top, the first that matches decides; what none matches is grouped as its sender groups it. Incidents that are there stay as they are."
      action={open !== "new" && rules.length > 0 && add}
    >
      {open === "new" && <RuleForm position={lastPosition(rules)} close={close} />}
      {query.error && query.data && <Problem what="The rules could not be refreshed." error={query.error} kept="What is shown is from before." />}
      {move.error && <Problem what="The order was not changed." error={move.error} />}
      {query.error && !query.data ? (
        <Problem what="The rules could not be read." error={query.error} retry={() => void query.refetch()} />
      ) : !query.data ? (
        <Card><LoadingRows /></Card>
      ) : rules.length === 0 ? (
        open !== "new" && (
          <Card>
            <Empty art={<GroupIcon size={20} />} title="No rules yet" more={add}>
              Each sender&apos;s own groups are incidents now: Alertmanager&apos;s group_by, Grafana&apos;s groups, else one alert each. A rule puts
              together what belongs together, across senders: say by {"{{service}}"}.
            </Empty>
          </Card>
        )
      ) : (
        <Card label="Rules">
          <ol className={css.rules}>
            {rules.map((rule, i) => (
              <li key={rule.id} className={css.item}>
                {open === rule.id ? (
                  <RuleForm rule={rule} position={rule.position} close={close} />
                ) : (
                  <Rule
                    rule={rule}
                    place={i + 1}
                    up={mayChange && i > 0 ? () => move.mutate({ rule, past: rules[i - 1] }) : undefined}
                    down={mayChange && i < rules.length - 1 ? () => move.mutate({ rule, past: rules[i + 1] }) : undefined}
                    busy={move.isPending}
                    edit={mayChange ? () => setOpen(rule.id) : undefined}
                  />
                )}
              </li>
            ))}
            <li className={`${css.rest} faint`}>Everything else: as its sender groups it, investigated by the default agent.</li>
          </ol>
        </Card>
      )}
    </Page>
  );
}

interface RuleProps {
  rule: GroupingRule;
  place: number;
  up?: () => void;
  down?: () => void;
  busy: boolean;
  /** Opens the editor; without it nothing may be changed. */
  edit?: () => void;
}

function Rule({ rule, place, up, down, busy, edit }: RuleProps) {
  const client = useQueryClient();
  const refresh = () => client.invalidateQueries({ queryKey: ["grouping-rules"] });
  const toggle = useMutation({
    mutationFn: async () => {
      // A whole rule is written, so it is read first: somebody else may have changed it.
      const now = (await groupingRules.list({})).find((r) => r.id === rule.id) ?? rule;
      return groupingRules.replace(rule.id, { ...bodyOf(now), enabled: !rule.enabled });
    },
    onSettled: refresh,
  });
  return (
    <div className={css.rule} data-off={!rule.enabled || undefined}>
      <div className={css.place}>
        <span className="faint num">{place}</span>
        {edit && (
          <>
            <ActionIcon variant="subtle" color="gray" size={24} className={css.up} disabled={!up || busy} onClick={up} aria-label={`Try ${inert(rule.name)} earlier`}>
              <DownIcon size={14} />
            </ActionIcon>
            <ActionIcon variant="subtle" color="gray" size={24} disabled={!down || busy} onClick={down} aria-label={`Try ${inert(rule.name)} later`}>
              <DownIcon size={14} />
            </ActionIcon>
          </>
        )}
      </div>
      <div className={css.what}>
        <h2>
          {inert(rule.name)} {!rule.enabled && <Chip tone="quiet">Not in force</Chip>} {!rule.investigate && <Chip tone="warning">Not investigated</Chip>}
        </h2>
        <dl>
          <dt>Alerts</dt>
          <dd>{rule.match ? <code>{inert(rule.match)}</code> : "every one"}</dd>
          <dt>One incident</dt>
          <dd>
            {rule.key ? (
              <>
                by <code>{inert(rule.key)}</code>
              </>
            ) : (
              "as the sender groups them"
            )}
            , {windowText(rule)}
          </dd>
          {(rule.min_severity || rule.agent) && (
            <>
              <dt>Investigated</dt>
              <dd>{[rule.min_severity && `from ${rule.min_severity} up`, rule.agent && `by ${inert(rule.agent)}`].filter(Boolean).join(", ")}</dd>
            </>
          )}
        </dl>
        <p className="faint">
          changed <Ago at={rule.updated_at} suffix=" ago" />
        </p>
        {toggle.error && (
          <p className={css.wrong} role="alert">
            {inert(messageOf(toggle.error))}
          </p>
        )}
      </div>
      {edit && (
        <div className={css.acts}>
          <Button variant="default" size="compact-sm" onClick={edit} aria-label={`Edit ${inert(rule.name)}`}>
            Edit
          </Button>
          <Button variant="default" size="compact-sm" loading={toggle.isPending} onClick={() => toggle.mutate()} aria-label={`${rule.enabled ? "Turn off" : "Turn on"} ${inert(rule.name)}`}>
            {rule.enabled ? "Turn off" : "Turn on"}
          </Button>
          <Remove name={rule.name} remove={() => groupingRules.remove(rule.id)} then={refresh} />
        </div>
      )}
    </div>
  );
}
