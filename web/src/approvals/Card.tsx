import { Button, NativeSelect, PasswordInput, TextInput } from "@mantine/core";
import { useMutation, useQueryClient } from "@tanstack/react-query";
import { Link } from "@tanstack/react-router";
import { useEffect, useId, useRef, useState } from "react";
import { effectText } from "../agents/agents";
import { approvals } from "../api/calls";
import { ApiError, messageOf } from "../api/client";
import type { Approval, Review } from "../api/types";
import { hasHidden, inert, inertLines } from "../text/visible";
import { fileCall } from "../timeline/workspace";
import { useHotkeys } from "../ui/hotkeys";
import { Ago, Copy, Left } from "../ui/parts";
import css from "./Card.module.css";

const risks: Record<Approval["risk"], string> = { low: "Low risk", medium: "Medium risk", high: "High risk", critical: "Critical risk" };

const states: Record<Approval["state"], string> = {
  pending: "Waiting",
  approved: "Approved",
  denied: "Denied",
  expired: "Expired: nobody decided in time",
  void: "Void: its run has ended",
};

/** What became of a request: one that expired may have been approved in time, and its call came too late for that. */
function ended(a: Approval) {
  const late = a.state === "expired" && a.decided_at && Date.parse(a.decided_at) < Date.parse(a.expires_at);
  return late ? "Expired: approved, but the call came too late" : states[a.state];
}

/** What of a call runs: the canonical command, what is done to a file of the workspace, or the arguments of a tool without either. */
export function subjectOf(a: Pick<Approval, "command" | "arguments" | "tool" | "workspace">): string {
  return a.command || (a.workspace && fileCall(a.tool, a.arguments)?.whole) || JSON.stringify(a.arguments, null, 2);
}

/**
 * One request for approval. It can be approved once all of what would run was
 * on the screen; deny is first, so that no press lands on approve by habit.
 * `keys` gives this card the keys y and n, each pressed twice.
 */
export function ApprovalCard({ approval: a, who, mayDecide, above, keys = false, showIncident = false }: {
  approval: Approval;
  who: string;
  mayDecide: boolean;
  /** The cards above it: with them it moves. */
  above?: string;
  keys?: boolean;
  showIncident?: boolean;
}) {
  const client = useQueryClient();
  const [reason, setReason] = useState("");
  const [minutes, setMinutes] = useState("0");
  const [proof, setProof] = useState("");
  const [asks, setAsks] = useState(false); // for the password
  const [sure, setSure] = useState<"" | "approve" | "deny">("");
  const { box, end, seen } = useSeen();
  const still = useStill(above);
  const label = useId();
  const open = a.state === "pending";
  const own = a.requester === `user:${who}` && a.risk !== "low";
  const decided = a.decisions.some((d) => d.username === who);
  const can = open && mayDecide && !decided;
  const decide = useMutation({
    mutationFn: (decision: "approve" | "deny") =>
      approvals.decide(a.id, {
        decision,
        digest: a.facts.digest ?? "",
        ...(reason.trim() ? { reason: reason.trim() } : {}),
        ...(decision === "approve" && proof ? { proof } : {}),
        ...(decision === "approve" && minutes !== "0" ? { minutes: Number(minutes) } : {}),
      }),
    onError: (error) => setAsks(error instanceof ApiError && error.places.includes("body.proof")),
    onSuccess: () => setAsks(false),
    onSettled: () => {
      setProof("");
      setSure("");
      void client.invalidateQueries({ queryKey: ["approvals"] });
      if (a.incident_id) void client.invalidateQueries({ queryKey: ["incident"] });
    },
  });
  const press = (which: "approve" | "deny") => {
    if (decide.isPending) return;
    if (sure === which) decide.mutate(which);
    else setSure(which);
  };
  useHotkeys("approval", keys && can ? { y: seen && still && !own ? () => press("approve") : undefined, n: () => press("deny"), Escape: () => setSure("") } : undefined);

  const text = subjectOf(a);
  return (
    <article className={css.card} data-risk={a.risk} data-state={a.state} aria-labelledby={label}>
      <header className={css.head}>
        <h3 id={label}>
          <span className={css.risk} data-risk={a.risk}>
            {risks[a.risk]}
          </span>
          <span>{inert(a.tool)}</span>
          {a.target && (
            <>
              <span className="faint">on</span> <strong className="mono">{inert(a.target)}</strong>
            </>
          )}
          {a.workspace && <span className="faint">in its own workspace</span>}
        </h3>
        <span className="faint">
          {open ? (
            <>
              asked <Ago at={a.created_at} suffix=" ago" />
            </>
          ) : (
            ended(a)
          )}
        </span>
      </header>
      <div className={css.command}>
        <pre ref={box} tabIndex={0} aria-label="What will run">
          {inertLines(text)}
          <span ref={end} className={css.end} />
        </pre>
        <Copy text={text} label="the command" />
      </div>
      {hasHidden(text) && <p className={css.warn}>It holds characters that do not show. They are written out above as ⟨U+…⟩.</p>}
      <dl className={css.facts}>
        <dt>Asked by</dt>
        <dd>
          {a.agent ? `agent ${inert(a.agent)}` : "a client"}
          {a.requester.startsWith("user:") ? `, for ${inert(a.requester.slice(5))}` : a.run_id && ", which an alert has started"}
          {showIncident && a.incident_id && (
            <>
              {" · "}
              <Link to="/incidents/$id" params={{ id: a.incident_id }}>
                see the incident
              </Link>
            </>
          )}
        </dd>
        {a.facts.chain && (
          <>
            <dt>By way of</dt>
            <dd>{inert(a.facts.chain)}</dd>
          </>
        )}
        <dt>Why asked</dt>
        <dd>{a.reasons.map(inert).join("; ") || "no rule matches"}</dd>
        <dt>What it does</dt>
        <dd>{effectText(a.effect)}</dd>
        {a.review && (
          <>
            <dt>AI review</dt>
            <dd>
              <Reviewed review={a.review} />
            </dd>
          </>
        )}
        {a.facts.address && (
          <>
            <dt>Where</dt>
            <dd className="mono">{inert(a.facts.address)}</dd>
          </>
        )}
        {a.facts.host_key && (
          <>
            <dt>Host key</dt>
            <dd className="mono">{inert(a.facts.host_key)}</dd>
          </>
        )}
        {a.facts.credential && (
          <>
            <dt>With</dt>
            <dd>{inert(a.facts.credential)}</dd>
          </>
        )}
        {a.needed > 1 && (
          <>
            <dt>Approvals</dt>
            <dd>
              {a.decisions.filter((d) => d.approve).length} of {a.needed}
            </dd>
          </>
        )}
        {open && (
          <>
            <dt>Ends</dt>
            <dd>
              in <Left until={a.expires_at} />
            </dd>
          </>
        )}
        {a.decisions.map((d) => (
          <Said key={d.username} name={d.username} approve={d.approve} reason={d.reason ?? ""} at={d.at} />
        ))}
      </dl>
      {can && (
        <form className={css.decide} onSubmit={(e) => e.preventDefault()}>
          <TextInput
            className={css.reason}
            label="Reason"
            description="The agent reads it when you deny."
            value={reason}
            onChange={(e) => setReason(e.currentTarget.value)}
            maxLength={2000}
          />
          {a.incident_id && (a.risk === "low" || a.risk === "medium") && (
            <NativeSelect
              label="Approve"
              description={a.workspace ? "Exactly this, in this incident." : "Exactly this, on this target, in this incident."}
              value={minutes}
              onChange={(e) => setMinutes(e.currentTarget.value)}
              data={[
                { value: "0", label: "once" },
                { value: "15", label: "again for 15 minutes" },
                { value: "60", label: "again for an hour" },
                { value: "480", label: "again for 8 hours" },
              ]}
            />
          )}
          {asks && (
            <PasswordInput
              className={css.reason}
              label="Your password, or a code of your app"
              description="Once more, as the risk is high. It counts for a while."
              autoComplete="current-password"
              value={proof}
              onChange={(e) => setProof(e.currentTarget.value)}
              maxLength={1024}
              autoFocus
            />
          )}
          {/* A key that is held is one press. */}
          <div className={css.buttons} onKeyDown={(e) => e.repeat && e.preventDefault()}>
            <Button variant={sure === "deny" ? "filled" : "default"} color={sure === "deny" ? "red" : undefined} disabled={!still} loading={decide.isPending && decide.variables === "deny"} onClick={() => press("deny")}>
              {sure === "deny" ? "Really deny" : "Deny"}
            </Button>
            <Button
              variant={sure === "approve" ? "filled" : "light"}
              disabled={!seen || !still || own || decide.isPending}
              loading={decide.isPending && decide.variables === "approve"}
              onClick={() => (a.risk === "low" || a.risk === "medium" ? decide.mutate("approve") : press("approve"))}
            >
              {sure === "approve" ? "Really approve" : "Approve"}
            </Button>
            {!seen && <span className="faint">Read the command to its end first.</span>}
            {own && <span className="faint">You have asked for this yourself: somebody else must approve it.</span>}
          </div>
        </form>
      )}
      {open && decided && <p className="faint">You have decided; it waits for others.</p>}
      {open && !mayDecide && <p className="faint">Your roles do not let you decide.</p>}
      {decide.error && (
        <p className={css.warn} role="alert">
          {inert(messageOf(decide.error))}
        </p>
      )}
    </article>
  );
}

function Said({ name, approve, reason, at }: { name: string; approve: boolean; reason: string; at: string }) {
  return (
    <>
      <dt>{approve ? "Approved" : "Denied"}</dt>
      <dd>
        by {name === gatekeeper ? "the AI review: no person was asked" : inert(name)} <Ago at={at} suffix=" ago" />
        {reason && `: ${inert(reason)}`}
      </dd>
    </>
  );
}

/** Who approves what a rating lets pass. */
export const gatekeeper = "service:gatekeeper";

/** What the model made of it, which decides nothing unless an admin has opted in to that. */
function Reviewed({ review: r }: { review: Review }) {
  switch (r.state) {
    case "asked":
      return <>is under way; you need not wait for it</>;
    case "rated":
      return (
        <>
          rated <strong>{inert(r.risk ?? "")} risk</strong>
          {r.approved && ", and approved by that"}: {inert(r.reasoning ?? "")} <span className="faint">({inert(r.model)})</span>
        </>
      );
    default:
      return <>gave no rating{r.reasoning ? `: ${inert(r.reasoning)}` : ""}. People decide.</>;
  }
}

/** How long a card stays where it is before it can be decided, in ms. */
const rest = 1_000;

/** Says whether a card has kept its place: one that came or moved under the pointer just now is not what somebody meant to press. */
function useStill(above: string | undefined): boolean {
  const [rested, setRested] = useState<string | undefined>(undefined);
  useEffect(() => {
    const timer = setTimeout(() => setRested(above), rest);
    return () => clearTimeout(timer);
  }, [above]);
  return rested === above;
}

/** Says whether the end of a scrolling box has been on the screen. */
function useSeen() {
  const box = useRef<HTMLPreElement>(null);
  const end = useRef<HTMLSpanElement>(null);
  const [seen, setSeen] = useState(false);
  useEffect(() => {
    if (!box.current || !end.current || seen) return;
    // Of the window, so that a box that is itself not on the screen does not count.
    const observer = new IntersectionObserver((entries) => {
      if (entries.some((e) => e.isIntersecting)) setSeen(true);
    });
    observer.observe(end.current);
    return () => observer.disconnect();
  }, [seen]);
  return { box, end, seen };
}
