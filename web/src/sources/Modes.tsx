import { Button, NativeSelect, TextInput } from "@mantine/core";
import { useMutation, useQueryClient } from "@tanstack/react-query";
import { useNavigate } from "@tanstack/react-router";
import { type FormEvent, useState } from "react";
import { sources } from "../api/calls";
import type { Source } from "../api/types";
import { isTime } from "../text/time";
import { inert } from "../text/visible";
import { Left, Problem, useNow } from "../ui/parts";
import css from "./sources.module.css";

/** Starts, changes and ends set-up mode, and keeps what the api answers. */
function useVerifyOnly(source: Source) {
  const client = useQueryClient();
  return useMutation({
    mutationFn: (minutes: number) => sources.verifyOnly(source.id, minutes),
    onSuccess: (now) => {
      client.setQueryData(["sources", source.id], now);
      void client.invalidateQueries({ queryKey: ["sources"] });
    },
  });
}

export function inSetUpMode(source: Pick<Source, "verify_until">, now: number): boolean {
  return isTime(source.verify_until) && Date.parse(source.verify_until) > now;
}

/** What nobody may overlook: the source takes what has not proved itself, or nothing at all. */
export function Banners({ source, may }: { source: Source; may: boolean }) {
  const client = useQueryClient();
  const now = useNow();
  const verify = useVerifyOnly(source);
  const on = useMutation({
    mutationFn: () => sources.change(source.id, { enabled: true }),
    onSuccess: (changed) => {
      client.setQueryData(["sources", source.id], changed);
      void client.invalidateQueries({ queryKey: ["sources"] });
    },
  });
  return (
    <>
      {inSetUpMode(source, now) && source.verify_until && (
        <div className={css.banner} role="alert">
          <div>
            <strong>
              Set-up mode, for <Left until={source.verify_until} /> more.
            </strong>{" "}
            A request that does not prove itself is not refused: it is kept as a dead letter, and no alert is read from it. End it when the first delivery has been read.
          </div>
          {may && (
            <Button variant="default" className={css.danger} loading={verify.isPending} onClick={() => verify.mutate(0)}>
              End set-up mode
            </Button>
          )}
        </div>
      )}
      {verify.error && <Problem what="Set-up mode was not ended." error={verify.error} />}
      {!source.enabled && (
        <div className={css.offline} role="status">
          <div>
            <strong>This source is off.</strong> What it is sent is answered 404 and not kept.
          </div>
          {may && (
            <Button variant="default" loading={on.isPending} onClick={() => on.mutate()}>
              Turn it on
            </Button>
          )}
        </div>
      )}
      {on.error && <Problem what="It was not turned on." error={on.error} />}
    </>
  );
}

const lengths = [
  { value: "15", label: "15 minutes" },
  { value: "60", label: "1 hour" },
  { value: "240", label: "4 hours" },
  { value: "1440", label: "1 day" },
];

/** Set-up mode: sees what a sender sends before its secret is right. */
export function SetUpMode({ source }: { source: Source }) {
  const now = useNow();
  const verify = useVerifyOnly(source);
  const [minutes, setMinutes] = useState("60");
  const going = inSetUpMode(source, now);
  return (
    <>
      <p className={css.help}>
        For a sender whose secret does not fit yet: what it sends is kept as a dead letter instead of refused, so that you can look at it, and so that it does not give up (PagerDuty does after three refusals). No
        alert is read from it. It ends by itself.
      </p>
      <div className={css.inline}>
        <NativeSelect label="For" value={minutes} onChange={(e) => setMinutes(e.currentTarget.value)} data={lengths} />
        <Button variant="default" loading={verify.isPending && verify.variables !== 0} onClick={() => verify.mutate(Number(minutes))}>
          {going ? "Start again from now" : "Start set-up mode"}
        </Button>
        {going && (
          <Button variant="default" loading={verify.isPending && verify.variables === 0} onClick={() => verify.mutate(0)}>
            End set-up mode
          </Button>
        )}
      </div>
      {verify.error && <Problem what="Set-up mode was not changed." error={verify.error} />}
    </>
  );
}

/** Deletes a source, after its name was typed. */
export function Delete({ source }: { source: Source }) {
  const client = useQueryClient();
  const navigate = useNavigate();
  const [typed, setTyped] = useState("");
  const remove = useMutation({
    mutationFn: () => sources.remove(source.id),
    onSuccess: async () => {
      client.removeQueries({ queryKey: ["sources", source.id] });
      await navigate({ to: "/sources" });
      void client.invalidateQueries({ queryKey: ["sources"] });
    },
  });
  const submit = (event: FormEvent) => {
    event.preventDefault();
    if (typed === source.name) remove.mutate();
  };
  return (
    <>
      <p className={css.help}>
        Its address stops working at once, and its secret is gone. Its incidents and their alerts stay. If it shall only pause, turn it off in the settings instead.
      </p>
      <form onSubmit={submit} className={css.inline} autoComplete="off">
        <TextInput label={`Type ${inert(source.name)} to delete it`} value={typed} onChange={(e) => setTyped(e.currentTarget.value)} autoCapitalize="none" spellCheck={false} />
        <Button type="submit" variant="default" className={css.danger} disabled={typed !== source.name} loading={remove.isPending}>
          Delete the source
        </Button>
      </form>
      {remove.error && <Problem what="It was not deleted." error={remove.error} />}
    </>
  );
}
