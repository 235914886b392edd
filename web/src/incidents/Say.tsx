import { Button, Textarea } from "@mantine/core";
import { useMutation, useQueryClient } from "@tanstack/react-query";
import { useState } from "react";
import { useUser } from "../accounts/may";
import { incidents } from "../api/calls";
import type { Incident, Run } from "../api/types";
import { inert } from "../text/visible";
import { Problem } from "../ui/parts";
import { isLive } from "../ui/state";
import css from "./Say.module.css";

/** Where a person speaks with the agent: while it works, and behind its end. */
export function Say({ incident, run }: { incident: Incident; run: Run | undefined }) {
  const [text, setText] = useState("");
  const client = useQueryClient();
  const user = useUser();
  const say = useMutation({
    mutationFn: () => incidents.say(incident.id, text),
    onSuccess: () => {
      setText("");
      void client.invalidateQueries({ queryKey: ["incident"] });
    },
  });
  const ready = text.trim() !== "" && !say.isPending;
  const live = isLive(incident.investigation);
  return (
    <form
      className={css.form}
      aria-label="Say something to the agent"
      onSubmit={(e) => {
        e.preventDefault();
        if (ready) say.mutate();
      }}
    >
      <Textarea
        aria-label="Message to the agent"
        placeholder={live ? "Tell the agent where to look" : run ? "Ask about what was found, or say where to look" : "Say where to look"}
        value={text}
        onChange={(e) => setText(e.currentTarget.value)}
        onKeyDown={(e) => {
          if (e.key === "Enter" && (e.ctrlKey || e.metaKey)) {
            e.preventDefault();
            if (ready) say.mutate();
          }
        }}
        autosize
        minRows={2}
        maxRows={10}
        maxLength={8000}
      />
      <div className={css.below}>
        <p className="faint">{effect(live, run, `user:${user.username}`)}</p>
        <Button type="submit" size="sm" loading={say.isPending} disabled={!ready}>
          Send
        </Button>
      </div>
      {say.error && <Problem what="The message was not sent." error={say.error} />}
    </form>
  );
}

/** What a message will do. */
export function effect(live: boolean, run: Run | undefined, actor: string): string {
  if (!live) return run ? "It goes on with all it knows, in a new investigation that acts for you." : "It starts an investigation that acts for you.";
  if (run && run.actor !== actor) return `The agent acts for ${whom(run.actor)}. It goes on for you when you send this, with your rights.`;
  return "The agent reads it before its next turn.";
}

function whom(actor: string): string {
  if (actor.startsWith("alert:")) return "the alert's source";
  return inert(actor.replace(/^user:/, ""));
}
