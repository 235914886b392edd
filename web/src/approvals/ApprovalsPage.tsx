import { Button, SegmentedControl } from "@mantine/core";
import { useInfiniteQuery, useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { getRouteApi } from "@tanstack/react-router";
import { useState } from "react";
import { approvals, grants } from "../api/calls";
import { messageOf } from "../api/client";
import type { Grant } from "../api/types";
import { inert } from "../text/visible";
import { ApproveIcon } from "../ui/icons";
import { Ago, Empty, Left, LoadingRows, Page, Problem } from "../ui/parts";
import { ApprovalCard } from "./Card";
import { Gatekeeper } from "./Gatekeeper";
import css from "./ApprovalsPage.module.css";

type Which = "pending" | "all" | "grants" | "review";

/** What agents ask people for, what was decided, and what needs no asking for a while. */
export function ApprovalsPage() {
  const { user } = getRouteApi("/signed-in").useRouteContext();
  const [which, setWhich] = useState<Which>("pending");
  return (
    <Page title="Approvals" lead="Calls that no rule allows. What you approve runs exactly as it is written, once, on that target.">
      <SegmentedControl
        className={css.which}
        value={which}
        onChange={(v) => setWhich(v as Which)}
        data={[
          { value: "pending", label: "Waiting" },
          { value: "all", label: "All" },
          { value: "grants", label: "Granted" },
          { value: "review", label: "AI review" },
        ]}
      />
      {which === "grants" ? (
        <Grants mayRevoke={user.actions.includes("approvals.decide")} />
      ) : which === "review" ? (
        <Gatekeeper mayChange={user.actions.includes("agents.manage")} />
      ) : (
        <List which={which} user={user} />
      )}
    </Page>
  );
}

function List({ which, user }: { which: "pending" | "all"; user: { username: string; actions: string[] } }) {
  const query = useInfiniteQuery({
    queryKey: ["approvals", which],
    initialPageParam: "",
    queryFn: ({ pageParam, signal }) => approvals.list({ ...(which === "pending" ? { state: "pending" } : {}), ...(pageParam ? { cursor: pageParam } : {}) }, { signal }),
    getNextPageParam: (last) => last.next_cursor || undefined,
    refetchInterval: which === "pending" ? 3_000 : 15_000,
  });
  const all = query.data?.pages.flatMap((p) => p.items) ?? [];
  if (query.error && !query.data) return <Problem what="The approvals could not be read." error={query.error} retry={() => void query.refetch()} />;
  if (!query.data) return <LoadingRows rows={4} height={60} />;
  if (all.length === 0) {
    return (
      <Empty art={<ApproveIcon size={20} />} title={which === "pending" ? "Nothing waits for you" : "Nobody was asked yet"}>
        What an agent wants to do and no rule allows appears here, and on its incident.
      </Empty>
    );
  }
  return (
    <div className={css.list}>
      {all.map((a, i) => (
        <ApprovalCard key={a.id} approval={a} who={user.username} mayDecide={user.actions.includes("approvals.decide")} above={all.slice(0, i).map((b) => b.id).join()} keys={i === 0 && which === "pending"} showIncident />
      ))}
      {query.hasNextPage && (
        <Button variant="default" loading={query.isFetchingNextPage} onClick={() => void query.fetchNextPage()}>
          Show earlier ones
        </Button>
      )}
    </div>
  );
}

function Grants({ mayRevoke }: { mayRevoke: boolean }) {
  const query = useQuery({ queryKey: ["grants"], queryFn: grants.list, refetchInterval: 15_000 });
  if (query.error && !query.data) return <Problem what="The grants could not be read." error={query.error} retry={() => void query.refetch()} />;
  if (!query.data) return <LoadingRows rows={4} />;
  if (query.data.length === 0) return <Empty title="Everything is asked for">Approving something for a while lists it here, where it can be taken back.</Empty>;
  return (
    <div className={css.list}>
      {query.data.map((g) => (
        <GrantRow key={g.id} grant={g} mayRevoke={mayRevoke} />
      ))}
    </div>
  );
}

function GrantRow({ grant: g, mayRevoke }: { grant: Grant; mayRevoke: boolean }) {
  const client = useQueryClient();
  const revoke = useMutation({ mutationFn: () => grants.revoke(g.id), onSettled: () => client.invalidateQueries({ queryKey: ["grants"] }) });
  const over = Boolean(g.revoked_at) || Date.parse(g.expires_at) < Date.now();
  return (
    <div className={css.grant}>
      <div>
        <code>{inert(g.command || g.tool)}</code>
        <div className="faint">
          {g.target && `on ${inert(g.target)}, `}granted by {inert(g.granted_by)} <Ago at={g.created_at} suffix=" ago" />,{" "}
          {g.revoked_at ? (
            <>revoked by {inert(g.revoked_by ?? "")}</>
          ) : over ? (
            "over"
          ) : (
            <>
              for <Left until={g.expires_at} /> more
            </>
          )}
        </div>
        {revoke.error && <div role="alert">{inert(messageOf(revoke.error))}</div>}
      </div>
      {!over && mayRevoke && (
        <Button variant="default" size="compact-sm" loading={revoke.isPending} onClick={() => revoke.mutate()}>
          Revoke
        </Button>
      )}
    </div>
  );
}
