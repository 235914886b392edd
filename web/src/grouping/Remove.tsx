import { Button } from "@mantine/core";
import { useMutation } from "@tanstack/react-query";
import { useState } from "react";
import { messageOf } from "../api/client";
import { inert } from "../text/visible";
import css from "./grouping.module.css";

/** Removes something; asks once more in place: the second press is the decision. */
export function Remove({ name, remove, then }: { name: string; remove: () => Promise<unknown>; then: () => unknown }) {
  const [sure, setSure] = useState(false);
  const act = useMutation({ mutationFn: remove, onSuccess: then, onError: () => setSure(false) });
  const word = sure ? "Really remove" : "Remove";
  return (
    <>
      <Button
        variant={sure ? "filled" : "default"}
        color={sure ? "red" : undefined}
        size="compact-sm"
        loading={act.isPending}
        onClick={() => (sure ? act.mutate() : setSure(true))}
        onBlur={() => setSure(false)}
        aria-label={`${word} ${inert(name)}`}
      >
        {word}
      </Button>
      {act.error && (
        <p className={css.wrong} role="alert">
          {inert(messageOf(act.error))}
        </p>
      )}
    </>
  );
}
