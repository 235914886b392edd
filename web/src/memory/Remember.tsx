import { Button } from "@mantine/core";
import { useQuery, useQueryClient } from "@tanstack/react-query";
import { Link } from "@tanstack/react-router";
import { useState } from "react";
import { useMay } from "../accounts/may";
import { memories } from "../api/calls";
import type { RunFinding } from "../api/types";
import { inert } from "../text/visible";
import { Ago } from "../ui/parts";
import { bodyOf, confirmer, draftOf } from "./memory";
import css from "./memory.module.css";
import { MemoryForm } from "./MemoryForm";

/** Where a person confirms findings, so that later investigations are offered them; or who has. */
export function Remember({ incident, found, service }: { incident: string; found: RunFinding; service: string }) {
  const may = useMay();
  const client = useQueryClient();
  const [open, setOpen] = useState(false);
  const query = useQuery({ queryKey: ["memories", "of", incident], queryFn: ({ signal }) => memories.list({ incident, limit: 200 }, { signal }) });
  if (!query.data) return null;
  const memory = query.data.items.find((m) => m.run_id === found.run_id);
  if (memory) {
    return (
      <p className={css.remember}>
        <span>
          Remembered by {inert(confirmer(memory.confirmed_by))} <span className="faint"><Ago at={memory.confirmed_at} suffix=" ago" /></span>.{" "}
          <Link to="/memory" search={{ incident: memory.incident_number }}>
            Look at it
          </Link>
        </span>
      </p>
    );
  }
  if (!may("incidents.respond")) return null;
  const close = () => setOpen(false);
  return (
    <div className={css.remember}>
      {open ? (
        <MemoryForm
          title="Remember this"
          head={
            <div>
              <h3>Remember this</h3>
              <p className="dim">What you confirm here is offered to later investigations of the like, as a hypothesis that they check anew.</p>
            </div>
          }
          draft={draftOf(found.finding, service)}
          save={(d) => memories.create({ incident, run_id: found.run_id, ...bodyOf(d) })}
          then={() => {
            close();
            void client.invalidateQueries({ queryKey: ["memories"] });
          }}
          close={close}
        />
      ) : (
        <div className={css.buttons}>
          <Button size="compact-sm" variant="default" onClick={() => setOpen(true)}>
            Remember this
          </Button>
        </div>
      )}
    </div>
  );
}
