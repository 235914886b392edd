import { Button } from "@mantine/core";
import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { Link } from "@tanstack/react-router";
import { overview } from "../api/calls";
import { Problem } from "../ui/parts";
import { missing } from "./steps";
import css from "./wizard.module.css";

/** Reminds of what the set-up still lacks, until it lacks nothing or nobody wants to hear of it. */
export function StillMissing() {
  const client = useQueryClient();
  const query = useQuery({ queryKey: ["setup-state"], queryFn: overview.setup, refetchInterval: 15_000 });
  const dismiss = useMutation({
    mutationFn: () => overview.dismissSetup(true),
    onSuccess: (state) => client.setQueryData(["setup-state"], state),
  });
  const state = query.data;
  if (!state || state.complete || state.dismissed_at) return null;
  return (
    <section className={css.card} aria-label="Set-up">
      <p>
        <strong>Still missing:</strong> {missing(state).join(", ")}.
      </p>
      <div className={css.buttons}>
        <Button component={Link} to="/wizard" size="compact-sm">
          Go on with the set-up
        </Button>
        <Button size="compact-sm" variant="subtle" color="gray" loading={dismiss.isPending} onClick={() => dismiss.mutate()}>
          Do not remind again
        </Button>
      </div>
      {dismiss.error && <Problem what="Nothing was changed." error={dismiss.error} />}
    </section>
  );
}
