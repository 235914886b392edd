import { ActionIcon, Button, Checkbox, TextInput } from "@mantine/core";
import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { Link } from "@tanstack/react-router";
import { type FormEvent, useState } from "react";
import { useMay } from "../accounts/may";
import { views } from "../api/calls";
import type { View } from "../api/types";
import { inert } from "../text/visible";
import { Drop } from "../ui/Drop";
import { CloseIcon } from "../ui/icons";
import { Problem } from "../ui/parts";
import css from "./Views.module.css";
import { type IncidentSearch, sameFilter } from "./filter";

/** The filters that are kept under names: to go to one, and to keep the present one. */
export function Views({ search }: { search: IncidentSearch }) {
  const query = useQuery({ queryKey: ["views"], queryFn: ({ signal }) => views.list({ signal }), staleTime: 30_000 });
  const all = query.data ?? [];
  const here = all.find((v) => sameFilter(v.filter, search));
  return (
    <Drop label={<span className={css.here}>{here ? inert(here.name) : "Views"}</span>} title="Filters that are kept under names">
      {(close) => (
        <div className={css.views}>
          {query.error && all.length === 0 ? (
            <Problem what="The views could not be read." error={query.error} retry={() => void query.refetch()} />
          ) : all.length === 0 ? (
            <p className={css.none}>No view is kept yet. Choose a status, words or labels, and keep that under a name.</p>
          ) : (
            <>
              <List name="Yours" of={all.filter((v) => v.mine)} here={here} close={close} />
              <List name="Shared by others" of={all.filter((v) => !v.mine)} here={here} close={close} />
            </>
          )}
          <Keep search={search} all={all} close={close} />
        </div>
      )}
    </Drop>
  );
}

function List({ name, of, here, close }: { name: string; of: View[]; here: View | undefined; close: () => void }) {
  if (of.length === 0) return null;
  return (
    <>
      <h3>{name}</h3>
      <ul>
        {of.map((v) => (
          <Entry key={v.id} view={v} here={v.id === here?.id} close={close} />
        ))}
      </ul>
    </>
  );
}

function Entry({ view, here, close }: { view: View; here: boolean; close: () => void }) {
  const client = useQueryClient();
  const may = useMay();
  const [sure, setSure] = useState(false);
  const remove = useMutation({
    mutationFn: () => views.remove(view.id),
    onSettled: () => void client.invalidateQueries({ queryKey: ["views"] }),
  });
  const word = sure ? `Really remove ${inert(view.name)}` : `Remove ${inert(view.name)}`;
  return (
    <li className={css.entry}>
      <Link to="/incidents" search={view.filter} onClick={close} activeOptions={{ exact: true }} aria-current={here ? "page" : undefined} activeProps={{}}>
        <span>{inert(view.name)}</span>
        {view.mine ? view.shared && <span className="faint">shared</span> : <span className="faint">{inert(view.owner)}</span>}
      </Link>
      {(view.mine || may("accounts.manage")) &&
        (sure ? (
          <Button size="compact-xs" color="red" loading={remove.isPending} aria-label={word} onBlur={() => setSure(false)} onClick={() => remove.mutate()} autoFocus>
            Remove
          </Button>
        ) : (
          <ActionIcon variant="subtle" color="gray" size={26} aria-label={word} title="Remove" onClick={() => setSure(true)}>
            <CloseIcon size={13} />
          </ActionIcon>
        ))}
    </li>
  );
}

/** Keeps the present filter: under a new name, or in place of what had the name. */
function Keep({ search, all, close }: { search: IncidentSearch; all: View[]; close: () => void }) {
  const client = useQueryClient();
  const may = useMay();
  const [name, setName] = useState("");
  const [shared, setShared] = useState(false);
  const old = all.find((v) => v.mine && v.name === name.trim());
  const keep = useMutation({
    mutationFn: () => {
      const body = { name: name.trim(), filter: search, shared };
      return old ? views.replace(old.id, body) : views.create(body);
    },
    onSuccess: () => {
      void client.invalidateQueries({ queryKey: ["views"] });
      close();
    },
  });
  if (sameFilter({}, search)) return <p className={css.note}>All incidents are shown now. Narrow the list to keep that as a view.</p>;
  return (
    <form
      className={css.keep}
      autoComplete="off"
      onSubmit={(e: FormEvent) => {
        e.preventDefault();
        keep.mutate();
      }}
    >
      <TextInput label="Keep what is shown as" placeholder="Name" size="xs" value={name} onChange={(e) => setName(e.currentTarget.value)} maxLength={80} />
      {may("incidents.respond") && <Checkbox size="xs" label="Others see it, too" checked={shared} onChange={(e) => setShared(e.currentTarget.checked)} />}
      {keep.error && <Problem what="It was not kept." error={keep.error} />}
      <Button type="submit" size="compact-sm" loading={keep.isPending} disabled={name.trim() === ""}>
        {old ? "Replace the view of that name" : "Keep"}
      </Button>
    </form>
  );
}
