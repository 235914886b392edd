import { ActionIcon, Button, TextInput } from "@mantine/core";
import { useMutation, useQueryClient } from "@tanstack/react-query";
import { Link } from "@tanstack/react-router";
import { type FormEvent, useState } from "react";
import { useUser } from "../accounts/may";
import { incidents } from "../api/calls";
import type { Body, Incident } from "../api/types";
import { inert } from "../text/visible";
import { useHotkeys } from "../ui/hotkeys";
import { CloseIcon } from "../ui/icons";
import { Problem } from "../ui/parts";
import css from "./Bulk.module.css";
import { mostAtOnce, type Outcome, outcomeOf } from "./selection";

type Action = Body<"BulkChangeBody">["action"];

const did: Record<Action, string> = { acknowledge: "acknowledged", assign: "assigned", resolve: "resolved", close: "closed" };

interface BulkProps {
  chosen: ReadonlyMap<string, number>;
  may: boolean;
  /** The incident that a key is meant for where none is chosen. */
  focused: () => Incident | undefined;
  /** Leaves these chosen, which may be none. */
  keep: (ids: string[]) => void;
  /** Chooses all that are loaded. */
  all: () => void;
}

/** What can be done to all that are chosen, and what came of it. Those it was not done to stay chosen. */
export function Bulk({ chosen, may, focused, keep, all }: BulkProps) {
  const client = useQueryClient();
  const [assigning, setAssigning] = useState(false);
  const [sure, setSure] = useState<Action | null>(null);
  const [outcome, setOutcome] = useState<(Outcome & { action: Action }) | null>(null);
  const change = useMutation({
    mutationFn: ({ of, ...body }: { action: Action; of: ReadonlyMap<string, number>; assignee?: string }) => incidents.bulk({ ...body, ids: [...of.keys()] }),
    onSuccess: (items, { action, of }) => {
      const came = outcomeOf(items, of);
      setOutcome({ ...came, action });
      setAssigning(false);
      keep(came.failed.map((f) => f.id));
    },
    onSettled: () => {
      setSure(null);
      void client.invalidateQueries({ queryKey: ["incidents"] });
      void client.invalidateQueries({ queryKey: ["incident"] });
    },
  });
  const act = (action: Action, of = chosen, assignee?: string) => {
    setOutcome(null);
    change.mutate({ action, of, ...(assignee === undefined ? {} : { assignee }) });
  };
  const acknowledge = () => {
    const one = focused();
    if (chosen.size > 0) act("acknowledge");
    else if (one) act("acknowledge", new Map([[one.id, one.number]]));
  };
  useHotkeys("chosen", { a: may && !change.isPending ? acknowledge : undefined, Escape: chosen.size > 0 ? () => keep([]) : undefined });

  if (chosen.size === 0 && !outcome && !change.error) return null;
  const n = chosen.size;
  const button = (action: Action, label: string, asks: boolean) => (
    <Button
      variant={sure === action ? "filled" : "default"}
      size="compact-sm"
      disabled={change.isPending || n === 0}
      loading={change.isPending && change.variables.action === action}
      onBlur={() => setSure(null)}
      onClick={() => (asks && sure !== action ? setSure(action) : act(action))}
    >
      {sure === action ? `Really ${label.toLowerCase()} ${n}` : label}
    </Button>
  );
  return (
    <section className={css.bar} aria-label="Chosen incidents">
      {n > 0 && (
        <div className={css.line}>
          <strong role="status">
            {n} chosen{n === mostAtOnce && ", the most at once"}
          </strong>
          {button("acknowledge", "Acknowledge", false)}
          <Button variant="default" size="compact-sm" aria-expanded={assigning} disabled={change.isPending} onClick={() => setAssigning(!assigning)}>
            Assign
          </Button>
          {button("resolve", "Resolve", true)}
          {button("close", "Close", true)}
          <span className={css.gap} />
          <Button variant="subtle" color="gray" size="compact-sm" onClick={all}>
            All that are loaded
          </Button>
          <ActionIcon variant="subtle" color="gray" size={30} aria-label="Choose none" title="Choose none" onClick={() => keep([])}>
            <CloseIcon />
          </ActionIcon>
        </div>
      )}
      {n > 0 && assigning && <Assign busy={change.isPending} assign={(assignee) => act("assign", chosen, assignee)} />}
      {change.error && <Problem what="It is not known what was changed." error={change.error} />}
      {outcome && <Came outcome={outcome} close={() => setOutcome(null)} />}
    </section>
  );
}

function Assign({ busy, assign }: { busy: boolean; assign: (name: string) => void }) {
  const user = useUser();
  const [name, setName] = useState("");
  return (
    <form
      className={css.line}
      autoComplete="off"
      onSubmit={(e: FormEvent) => {
        e.preventDefault();
        assign(name.trim());
      }}
    >
      <TextInput
        aria-label="User name"
        placeholder="User name"
        size="xs"
        value={name}
        onChange={(e) => setName(e.currentTarget.value)}
        maxLength={100}
        autoCapitalize="none"
        spellCheck={false}
        autoFocus
      />
      <Button type="submit" size="compact-sm" disabled={busy || name.trim() === ""}>
        Assign
      </Button>
      <Button variant="default" size="compact-sm" disabled={busy} onClick={() => assign(user.username)}>
        To me
      </Button>
      <Button variant="default" size="compact-sm" disabled={busy} onClick={() => assign("")}>
        To nobody
      </Button>
    </form>
  );
}

/** Failures that are named; the others are counted. */
const few = 5;

function Came({ outcome, close }: { outcome: Outcome & { action: Action }; close: () => void }) {
  const { done, failed, action } = outcome;
  return (
    <div className={css.came} role="status" data-failed={failed.length > 0 || undefined}>
      <div>
        <p>
          {done > 0 && <strong>{`${done} ${did[action]}. `}</strong>}
          {failed.length > 0 && <strong>{`${failed.length} not ${did[action]}:`}</strong>}
        </p>
        {failed.length > 0 && (
          <ul>
            {failed.slice(0, few).map((f) => (
              <li key={f.id}>
                <Link to="/incidents/$id" params={{ id: f.number ? String(f.number) : f.id }}>
                  #{f.number}
                </Link>{" "}
                {inert(f.problem)}
              </li>
            ))}
            {failed.length > few && <li className="dim">and {failed.length - few} more, which are still chosen</li>}
          </ul>
        )}
      </div>
      <ActionIcon variant="subtle" color="gray" size={30} aria-label="Dismiss" onClick={close}>
        <CloseIcon />
      </ActionIcon>
    </div>
  );
}
