import { useMediaQuery } from "@mantine/hooks";
import { useState } from "react";
import { useUser } from "../accounts/may";
import type { Facets as Counts, FacetValue } from "../api/types";
import { inert } from "../text/visible";
import { investigationWord } from "../ui/state";
import css from "./Facets.module.css";
import type { IncidentSearch } from "./filter";

/** Values of one group that are shown at first. */
const few = 6;

interface Props {
  counts: Counts | undefined;
  search: IncidentSearch;
  change: (to: Partial<IncidentSearch>) => void;
}

/** What the list can be narrowed to, with how many incidents that leaves. */
export function Facets(props: Props) {
  const wide = useMediaQuery("(min-width: 1280px)", undefined, { getInitialValueInEffect: false });
  const chosen = chosenIn(props.search);
  if (wide) {
    return (
      <aside className={css.side} aria-label="Filters">
        <Groups {...props} />
      </aside>
    );
  }
  return (
    <details className={css.fold}>
      <summary>Filters{chosen > 0 && <span className={css.chosen}>{chosen}</span>}</summary>
      <div className={css.scroll} tabIndex={0} role="group" aria-label="Filters">
        <Groups {...props} />
      </div>
    </details>
  );
}

/** How many values are chosen in the groups. */
export function chosenIn(search: IncidentSearch): number {
  return listOf(search.investigation).length + listOf(search.source).length + (search.service?.length ?? 0) + (search.assignee?.length ?? 0) + (search.label?.length ?? 0);
}

function Groups({ counts, search, change }: Props) {
  const me = useUser().username;
  if (!counts) return null;
  const assignees = search.assignee ?? [];
  return (
    <>
      <Group
        name="Assigned to"
        values={[{ value: me }]}
        chosen={assignees}
        show={(v) => (v === me ? "Me" : v)}
        change={(all) => change({ assignee: all.length > 0 ? all : undefined })}
      />
      <Group
        name="Investigation"
        values={counts.investigation}
        chosen={listOf(search.investigation)}
        show={(v) => investigationWord(v)}
        change={(all) => change({ investigation: all.join(",") || undefined })}
      />
      <Group
        name="Source"
        values={counts.source}
        chosen={listOf(search.source)}
        show={(v) => (v === "none" ? "By hand" : (counts.source.find((s) => s.value === v)?.name ?? "A source that is gone"))}
        change={(all) => change({ source: all.join(",") || undefined })}
      />
      <Group name="Service" values={counts.service} chosen={search.service ?? []} show={(v) => v} change={(all) => change({ service: all.length > 0 ? all : undefined })} />
      {labelGroups(counts, search.label ?? []).map(({ key, values, chosen }) => (
        <Group
          key={key}
          name={key}
          code
          values={values}
          chosen={chosen}
          show={(v) => v}
          change={(all) => {
            const others = (search.label ?? []).filter((l) => keyOf(l) !== key);
            const label = [...others, ...all.map((v) => `${key}:${v}`)];
            change({ label: label.length > 0 ? label : undefined });
          }}
        />
      ))}
      {!counts.exact && <p className={css.note}>Counted in the newest {counts.total.toLocaleString()} that match; there are more.</p>}
      {counts.exact && counts.labels.length > 0 && counts.labels_of < counts.total && (
        <p className={css.note}>Labels are counted in the newest {counts.labels_of.toLocaleString()}.</p>
      )}
    </>
  );
}

/** The keys of labels, and those that are chosen although nothing here has them. */
export function labelGroups(counts: Counts, chosen: string[]): { key: string; values: FacetValue[]; chosen: string[] }[] {
  const groups = counts.labels.map((k) => ({ key: k.key, values: k.values, chosen: [] as string[] }));
  for (const label of chosen) {
    const key = keyOf(label);
    let group = groups.find((g) => g.key === key);
    if (!group) {
      group = { key, values: [], chosen: [] };
      groups.unshift(group);
    }
    group.chosen.push(label.slice(key.length + 1));
  }
  return groups;
}

function keyOf(label: string): string {
  return label.slice(0, Math.max(label.indexOf(":"), 0));
}

function listOf(text: string | undefined): string[] {
  return text ? text.split(",") : [];
}

interface GroupProps {
  name: string;
  code?: boolean;
  /** Without a count where nobody has counted. */
  values: (Omit<FacetValue, "count"> & { count?: number })[];
  chosen: string[];
  show: (value: string) => string;
  change: (chosen: string[]) => void;
}

function Group({ name, code, values, chosen, show, change }: GroupProps) {
  const [all, setAll] = useState(false);
  const missing = chosen.filter((v) => !values.some((f) => f.value === v)).map((value) => ({ value }));
  const rows: GroupProps["values"] = [...missing, ...values];
  if (rows.length === 0) return null;
  const shown = all ? rows : rows.filter((f, i) => i < few || chosen.includes(f.value));
  return (
    <fieldset className={css.group}>
      <legend className={code ? "mono" : undefined}>{inert(name)}</legend>
      {shown.map((f) => (
        <label key={f.value} className={css.value} title={inert(show(f.value))}>
          <input
            type="checkbox"
            checked={chosen.includes(f.value)}
            onChange={(e) => change(e.currentTarget.checked ? [...chosen, f.value] : chosen.filter((v) => v !== f.value))}
          />
          <span className={css.name}>{inert(show(f.value))}</span>
          <span className={`${css.count} num`}>{f.count?.toLocaleString()}</span>
        </label>
      ))}
      {rows.length > shown.length && (
        <button type="button" className={css.more} onClick={() => setAll(true)}>
          {rows.length - shown.length} more
        </button>
      )}
    </fieldset>
  );
}
