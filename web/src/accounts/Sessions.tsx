import { Button } from "@mantine/core";
import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { sessions } from "../api/calls";
import type { Session } from "../api/types";
import { inert } from "../text/visible";
import { Ago, Card, LoadingRows, Problem } from "../ui/parts";
import { Chip } from "../ui/state";
import css from "./accounts.module.css";
import { browserOf } from "./browser";

/** Where one is signed in, and the way out of each. */
export function OwnSessions() {
  const client = useQueryClient();
  const query = useQuery({ queryKey: ["sessions"], queryFn: sessions.list, refetchInterval: 30_000 });
  const refresh = () => client.invalidateQueries({ queryKey: ["sessions"] });
  const end = useMutation({ mutationFn: sessions.end, onSettled: refresh });
  const others = useMutation({ mutationFn: sessions.endOthers, onSettled: refresh });
  const all = query.data ?? [];
  return (
    <Card label="Where you are signed in">
      <div className={css.section}>
        <h2>Where you are signed in</h2>
        <p className="dim">End what you do not know, and change your password then: that ends all but this one.</p>
        {query.error && !query.data ? (
          <Problem what="Your sessions could not be read." error={query.error} retry={() => void query.refetch()} />
        ) : !query.data ? (
          <LoadingRows rows={2} height={40} />
        ) : (
          <ul className={css.sessions}>
            {all.map((s) => (
              <li key={s.id}>
                <SessionText session={s} />
                {!s.current && (
                  <Button variant="default" size="compact-sm" loading={end.isPending && end.variables === s.id} onClick={() => end.mutate(s.id)} aria-label={`End the session in ${inert(browserOf(s.browser))}`}>
                    End
                  </Button>
                )}
              </li>
            ))}
          </ul>
        )}
        {(end.error ?? others.error) && <Problem what="It was not ended." error={end.error ?? others.error} />}
        {all.length > 1 && (
          <div>
            <Button variant="default" loading={others.isPending} onClick={() => others.mutate()}>
              End all others
            </Button>
          </div>
        )}
      </div>
    </Card>
  );
}

/** Where somebody is signed in, for who manages accounts. */
export function SessionsOf({ user }: { user: { id: string; username: string } }) {
  const client = useQueryClient();
  const key = ["sessions", user.id];
  const query = useQuery({ queryKey: key, queryFn: ({ signal }) => sessions.listOf(user.id, { signal }) });
  const end = useMutation({ mutationFn: () => sessions.endOf(user.id), onSettled: () => client.invalidateQueries({ queryKey: key }) });
  if (query.error && !query.data) return <Problem what="The sessions could not be read." error={query.error} retry={() => void query.refetch()} />;
  if (!query.data) return <LoadingRows rows={2} />;
  if (query.data.length === 0) return <p className="faint">{inert(user.username)} is signed in nowhere.</p>;
  return (
    <>
      <ul className={css.sessions}>
        {query.data.map((s) => (
          <li key={s.id}>
            <SessionText session={s} />
          </li>
        ))}
      </ul>
      {end.error && <Problem what="They were not ended." error={end.error} />}
      <div>
        <Button variant="default" size="compact-sm" loading={end.isPending} onClick={() => end.mutate()}>
          Sign {inert(user.username)} out everywhere
        </Button>
      </div>
    </>
  );
}

function SessionText({ session: s }: { session: Session }) {
  return (
    <div>
      <strong title={inert(s.browser)}>{inert(browserOf(s.browser))}</strong> {s.current && <Chip tone="accent">This one</Chip>}
      <div className="faint">
        from <span className="mono">{inert(s.address)}</span>, used <Ago at={s.last_seen_at} suffix=" ago" />, signed in <Ago at={s.created_at} suffix=" ago" />
        {s.method === "oidc" && " with the provider"}
      </div>
    </div>
  );
}
