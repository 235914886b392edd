import { Button, NativeSelect, TextInput } from "@mantine/core";
import { useInfiniteQuery, useMutation, useQueryClient } from "@tanstack/react-query";
import { getRouteApi } from "@tanstack/react-router";
import { type FormEvent, useState } from "react";
import { useMay } from "../accounts/may";
import { memories } from "../api/calls";
import type { Memory } from "../api/types";
import { Remove } from "../grouping/Remove";
import { isTime } from "../text/time";
import { inert, inertLines } from "../text/visible";
import { MemoryIcon } from "../ui/icons";
import { Ago, Card, Empty, Left, LoadingRows, Page, Problem, useNow } from "../ui/parts";
import { Chip } from "../ui/state";
import { bodyOf, confirmer, draftOfMemory, type MemorySearch, readSearch, stateOf } from "./memory";
import css from "./memory.module.css";
import { MemoryForm } from "./MemoryForm";
import { Rules } from "./Rules";

const route = getRouteApi("/signed-in/memory");

/** What people have confirmed of findings. */
export function MemoryPage() {
  const search = route.useSearch();
  return (
    <Page
      title="Memory"
      lead="What people have confirmed of findings. An investigation of the like begins with it as a hypothesis that it checks anew; it is never evidence."
    >
      <Search key={JSON.stringify(search)} search={search} />
      <List search={search} />
      <Rules />
    </Page>
  );
}

function Search({ search }: { search: MemorySearch }) {
  const navigate = route.useNavigate();
  const submit = (event: FormEvent<HTMLFormElement>) => {
    event.preventDefault();
    void navigate({ search: readSearch({ ...search, ...(Object.fromEntries(new FormData(event.currentTarget)) as Record<string, string>) }) });
  };
  return (
    <form className={css.search} onSubmit={submit} role="search" aria-label="Memory">
      <TextInput name="q" label="Words" placeholder="disk full" defaultValue={search.q} maxLength={200} />
      <NativeSelect
        name="state"
        label="Which"
        defaultValue={search.state ?? ""}
        data={[
          { value: "", label: "All" },
          { value: "current", label: "Offered" },
          { value: "old", label: "Stale or expired" },
        ]}
      />
      <div className={css.buttons}>
        <Button type="submit">Search</Button>
        {Object.keys(search).length > 0 && (
          <Button variant="default" onClick={() => void navigate({ search: {} })}>
            Clear
          </Button>
        )}
      </div>
    </form>
  );
}

function List({ search }: { search: MemorySearch }) {
  const { incident, ...others } = search;
  const query = useInfiniteQuery({
    queryKey: ["memories", search],
    initialPageParam: "",
    queryFn: ({ pageParam, signal }) => memories.list({ ...others, ...(incident ? { incident: String(incident) } : {}), limit: 50, ...(pageParam ? { cursor: pageParam } : {}) }, { signal }),
    getNextPageParam: (last) => last.next_cursor || undefined,
  });
  const all = query.data?.pages.flatMap((p) => p.items) ?? [];
  if (query.error && !query.data) return <Problem what="The memories could not be read." error={query.error} retry={() => void query.refetch()} />;
  if (!query.data) return <Card><LoadingRows /></Card>;
  return (
    <Card label="Memories">
      {all.length === 0 ? (
        <Empty art={<MemoryIcon size={20} />} title={Object.keys(search).length > 0 ? "Nothing that is remembered fits" : "Nothing is remembered yet"}>
          {Object.keys(search).length > 0 ? "Take a word or a filter away." : "Press “Remember this” at the findings of an incident once you know that they are right."}
        </Empty>
      ) : (
        <ul className={css.list}>
          {all.map((m) => (
            <li key={m.id}>
              <Item memory={m} />
            </li>
          ))}
        </ul>
      )}
      {query.hasNextPage && (
        <div className={css.next}>
          <Button variant="default" loading={query.isFetchingNextPage} onClick={() => void query.fetchNextPage()}>
            Show older ones
          </Button>
        </div>
      )}
      {query.error && <Problem what="The list could not be refreshed." error={query.error} kept="What is shown is from before." />}
    </Card>
  );
}

function Item({ memory: m }: { memory: Memory }) {
  const mayChange = useMay()("incidents.respond");
  const [open, setOpen] = useState(false);
  const client = useQueryClient();
  const refresh = () => void client.invalidateQueries({ queryKey: ["memories"] });
  const mark = useMutation({ mutationFn: (stale: boolean) => memories.change(m.id, { stale }), onSuccess: refresh });
  const state = stateOf(m, useNow());
  const name = inert(m.cause.slice(0, 60));
  const close = () => setOpen(false);
  if (open) {
    return (
      <MemoryForm
        title={`Edit ${name}`}
        head={<h2>Edit what is remembered</h2>}
        draft={draftOfMemory(m)}
        save={(d) => memories.change(m.id, bodyOf(d))}
        then={() => {
          close();
          refresh();
        }}
        close={close}
      />
    );
  }
  return (
    <div className={css.item} data-old={state === "offered" ? undefined : true}>
      <div>
        <h2>
          {inertLines(m.cause)} {state === "stale" && <Chip tone="quiet">Holds no more</Chip>}
          {state === "expired" && <Chip tone="quiet">Expired</Chip>}
        </h2>
        <dl className={css.texts}>
          <dt>Shows as</dt>
          <dd>{inertLines(m.pattern)}</dd>
          {m.fix && (
            <>
              <dt>Ended by</dt>
              <dd>{inertLines(m.fix)}</dd>
            </>
          )}
          <dt>Offered for</dt>
          <dd>
            {m.service ? inert(m.service) : "any service"}
            {m.labels.length > 0 && <>, with {inert(m.labels.join(", "))}</>}
            {state === "offered" && isTime(m.expires_at) && (
              <>
                , for <Left until={m.expires_at} />
              </>
            )}
          </dd>
        </dl>
        <p className={css.from}>
          {m.incident_id ? <a href={`/incidents/${m.incident_number}`}>#{m.incident_number}</a> : <>#{m.incident_number}, which is deleted</>}
          {m.evidence.length > 0 && <> on {inert(m.evidence.join(", "))}</>} · confirmed by {inert(confirmer(m.confirmed_by))} <Ago at={m.confirmed_at} suffix=" ago" />
          {m.updated_at !== m.confirmed_at && (
            <>
              {" "}
              · edited by {inert(confirmer(m.updated_by))} <Ago at={m.updated_at} suffix=" ago" />
            </>
          )}{" "}
          ·{" "}
          {m.offered > 0 ? (
            <>
              offered {m.offered === 1 ? "once" : `${m.offered} times`}, last <Ago at={m.offered_at} suffix=" ago" />
            </>
          ) : (
            "not offered yet"
          )}
        </p>
        {mark.error && <Problem what="It was not changed." error={mark.error} />}
      </div>
      {mayChange && (
        <div className={css.acts}>
          <Button variant="default" size="compact-sm" onClick={() => setOpen(true)} aria-label={`Edit ${name}`}>
            Edit
          </Button>
          <Button variant="default" size="compact-sm" loading={mark.isPending} onClick={() => mark.mutate(!m.stale)}>
            {m.stale ? "It holds again" : "It holds no more"}
          </Button>
          <Remove name={m.cause.slice(0, 60)} remove={() => memories.remove(m.id)} then={refresh} />
        </div>
      )}
    </div>
  );
}
