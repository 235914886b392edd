import { Button, Textarea } from "@mantine/core";
import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { useState } from "react";
import { useMay } from "../accounts/may";
import { incidents } from "../api/calls";
import type { Feedback } from "../api/types";
import { inert, inertLines } from "../text/visible";
import { Ago, Problem } from "../ui/parts";
import css from "./Judge.module.css";

const verdicts: [Feedback["verdict"], string][] = [
  ["right", "Right"],
  ["partly", "Partly"],
  ["wrong", "Wrong"],
];

/** What people think of one run's findings, and where to say so. */
export function Judge({ id, run }: { id: string; run: string }) {
  const may = useMay();
  const query = useQuery({ queryKey: ["incident", id, "feedback"], queryFn: ({ signal }) => incidents.feedback(id, { signal }) });
  const client = useQueryClient();
  const [verdict, setVerdict] = useState<Feedback["verdict"] | null>(null);
  const [comment, setComment] = useState("");
  const give = useMutation({
    mutationFn: () => incidents.giveFeedback(id, { verdict: verdict ?? "right", comment, run_id: run }),
    onSuccess: () => {
      setVerdict(null);
      setComment("");
      void client.invalidateQueries({ queryKey: ["incident", id, "feedback"] });
    },
  });
  const said = (query.data ?? []).filter((f) => f.run_id === run);
  const mayJudge = may("incidents.respond");
  if (!mayJudge && said.length === 0) return null;
  return (
    <div className={css.judge}>
      {mayJudge && (
        <div className={css.ask} role="group" aria-label="Are these findings right?">
          <span className="dim">Is this right?</span>
          {verdicts.map(([value, label]) => (
            <Button
              key={value}
              size="compact-sm"
              variant={verdict === value ? "filled" : "default"}
              aria-pressed={verdict === value}
              onClick={() => setVerdict(verdict === value ? null : value)}
            >
              {label}
            </Button>
          ))}
        </div>
      )}
      {verdict && (
        <form
          className={css.form}
          onSubmit={(e) => {
            e.preventDefault();
            give.mutate();
          }}
        >
          <Textarea
            aria-label="Comment"
            placeholder={verdict === "right" ? "Anything to add?" : "What was it really?"}
            value={comment}
            onChange={(e) => setComment(e.currentTarget.value)}
            autosize
            minRows={2}
            maxLength={4000}
          />
          <Button type="submit" size="sm" loading={give.isPending}>
            Save
          </Button>
          {give.error && <Problem what="It was not saved." error={give.error} />}
        </form>
      )}
      {said.map((f) => (
        <p key={f.by} className={css.said}>
          <strong>{verdicts.find(([v]) => v === f.verdict)?.[1]}</strong>{" "}
          <span className="faint">
            says {inert(f.by.replace(/^user:/, ""))}, <Ago at={f.at} suffix=" ago" />
          </span>
          {f.comment && <span className={css.comment}>{inertLines(f.comment)}</span>}
        </p>
      ))}
    </div>
  );
}
