import { Button, NativeSelect, Switch } from "@mantine/core";
import { useInfiniteQuery, useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { useState } from "react";
import { deliveries, sources } from "../api/calls";
import { messageOf } from "../api/client";
import type { Body, Source } from "../api/types";
import { isTime } from "../text/time";
import { inert } from "../text/visible";
import { Output } from "../timeline/Output";
import { Ago, LoadingRows, Problem } from "../ui/parts";
import { Chip } from "../ui/state";
import css from "./sources.module.css";
import { bytes, counted } from "./state";
import { indented } from "./TestEvent";

type Which = "open" | "any" | "all";

/** What arrived and could not be read, to look at and to read again; and, if one wants, everything else. */
export function Letters({ source, may }: { source: Source; may: boolean }) {
  const [which, setWhich] = useState<Which>("open");
  const query = useInfiniteQuery({
    queryKey: ["sources", source.id, "deliveries", which],
    initialPageParam: "",
    queryFn: ({ pageParam, signal }) =>
      sources.deliveries(source.id, { limit: 20, ...(which !== "all" && { problem: which }), ...(pageParam && { cursor: pageParam }) }, { signal }),
    getNextPageParam: (last) => last.next_cursor || undefined,
    refetchInterval: 5_000,
  });
  const all = query.data?.pages.flatMap((p) => p.items) ?? [];
  return (
    <>
      <div className={css.which}>
        <NativeSelect
          aria-label="Which deliveries"
          value={which}
          onChange={(e) => setWhich(e.currentTarget.value as Which)}
          data={[
            { value: "open", label: "Dead letters" },
            { value: "any", label: "All that had a problem" },
            { value: "all", label: "All deliveries" },
          ]}
        />
      </div>
      {may && which === "open" && all.length > 0 && <ReplayAll source={source} unproven={all.some((d) => d.unproven)} />}
      {query.error && (
        <Problem
          what={query.data ? "The deliveries could not be refreshed." : "The deliveries could not be read."}
          error={query.error}
          {...(query.data ? { kept: "What is shown is from before." } : { retry: () => void query.refetch() })}
        />
      )}
      {query.isPending && !query.error && <LoadingRows rows={3} />}
      {query.data && all.length === 0 && (
        <p className={css.help}>{which === "all" ? "Nothing has arrived yet." : which === "open" ? "None. Everything that arrived was read." : "None so far."}</p>
      )}
      {all.length > 0 && (
        <ul className={css.letters}>
          {all.map((d) => (
            <Letter key={d.id} delivery={d} may={may} on={source.enabled} />
          ))}
        </ul>
      )}
      {query.hasNextPage && (
        <div>
          <Button variant="default" loading={query.isFetchingNextPage} onClick={() => void query.fetchNextPage()}>
            Show earlier ones
          </Button>
        </div>
      )}
    </>
  );
}

function Letter({ delivery: d, may, on }: { delivery: Body<"StoredDelivery">; may: boolean; on: boolean }) {
  const client = useQueryClient();
  const [open, setOpen] = useState(false);
  const [sure, setSure] = useState(false);
  const again = useMutation({
    mutationFn: () => deliveries.replay(d.id),
    onSettled: () => {
      setSure(false);
      void client.invalidateQueries({ queryKey: ["sources", d.source_id] });
    },
  });
  const dead = Boolean(d.problem) && !isTime(d.replayed_at);
  // Whoever sent it is believed from then on: that takes a second press.
  const press = () => (d.unproven && !sure ? setSure(true) : again.mutate());
  return (
    <li>
      <div className={css.letter}>
        <div>
          <p>
            <Ago at={d.received_at} suffix=" ago" /> · {bytes(d.size)} · {counted(d.alerts, "alert", "alerts")} read
            {d.truncated > 0 && `, ${d.truncated.toLocaleString()} left out by the sender`} {d.unproven && <Chip tone="warning">Not proven</Chip>}{" "}
            {isTime(d.replayed_at) && <Chip tone="good">Read again</Chip>}
          </p>
          {d.problem && <p className={dead ? css.bad : "dim"}>{inert(d.problem)}</p>}
          {d.replay_problem && <p className={css.bad}>Read again, and: {inert(d.replay_problem)}</p>}
          {again.data && (
            <p role="status">
              {again.data.problem ? `It stays a dead letter: ${inert(again.data.problem)}` : `Read again: ${counted(again.data.alerts, "alert was", "alerts were")} stored.`}
            </p>
          )}
          {again.error && (
            <p role="alert" className={css.bad}>
              {inert(messageOf(again.error))}
            </p>
          )}
        </div>
        {may && (
          <div className={css.acts}>
            <Button variant="default" size="compact-sm" aria-expanded={open} onClick={() => setOpen(!open)}>
              {open ? "Hide the body" : "Show the body"}
            </Button>
            {dead && (
              <Button variant="default" className={sure ? css.danger : undefined} size="compact-sm" disabled={!on} loading={again.isPending} onClick={press} onBlur={() => setSure(false)}>
                {sure ? "Believe it and read it" : "Read it again"}
              </Button>
            )}
          </div>
        )}
      </div>
      {open && <Raw id={d.id} />}
    </li>
  );
}

/** The body as it came, as text in which nothing can act or hide. */
function Raw({ id }: { id: string }) {
  const query = useQuery({ queryKey: ["deliveries", id], queryFn: ({ signal }) => deliveries.get(id, { signal }), staleTime: Infinity });
  if (query.error) return <Problem what="The body could not be read." error={query.error} retry={() => void query.refetch()} />;
  if (!query.data) return <LoadingRows rows={2} />;
  const d = query.data;
  return (
    <div className={css.raw}>
      <p className="faint">
        {inert(d.content_type) || "Without a content type"}
        {d.cut && ". Only the beginning is shown"}
      </p>
      <Output text={d.cut ? d.body : indented(d.body)} name={`delivery-${id}`} />
    </div>
  );
}

interface Total {
  replayed: number;
  alerts: number;
  failed: number;
  problem?: string;
}

/** Reads all dead letters again, page after page, oldest first. */
function ReplayAll({ source, unproven }: { source: Source; unproven: boolean }) {
  const client = useQueryClient();
  const [believe, setBelieve] = useState(false);
  const [total, setTotal] = useState<Total | null>(null);
  const run = useMutation({
    mutationFn: async () => {
      const sum: Total = { replayed: 0, alerts: 0, failed: 0 };
      for (let cursor = ""; ; ) {
        const part = await sources.replayAll(source.id, { unproven: believe, limit: 100, ...(cursor && { cursor }) });
        sum.replayed += part.replayed;
        sum.alerts += part.alerts;
        sum.failed += part.failed.length;
        sum.problem ??= part.failed[0]?.problem;
        setTotal({ ...sum });
        if (part.next_cursor === "" || part.next_cursor === cursor) return;
        cursor = part.next_cursor;
      }
    },
    onMutate: () => setTotal(null),
    onSettled: () => client.invalidateQueries({ queryKey: ["sources", source.id] }),
  });
  return (
    <div className={css.replay}>
      {unproven && (
        <Switch
          checked={believe}
          onChange={(e) => setBelieve(e.currentTarget.checked)}
          label="Those as well that did not prove themselves"
          description="Anybody who knows the address may have sent them. Look at them first: they are believed from then on."
        />
      )}
      <div>
        <Button variant="default" loading={run.isPending} disabled={!source.enabled} onClick={() => run.mutate()}>
          Read all of them again
        </Button>
      </div>
      {total && (
        <p role="status">
          {counted(total.replayed, "dead letter was", "dead letters were")} read again, with {counted(total.alerts, "alert", "alerts")}.{" "}
          {total.failed > 0 && `${counted(total.failed, "is", "are")} still dead: ${inert(total.problem)}`}
          {run.isPending && " Going on…"}
        </p>
      )}
      {run.error && <Problem what="Not all were read again." error={run.error} kept="What was read is stored." />}
    </div>
  );
}
