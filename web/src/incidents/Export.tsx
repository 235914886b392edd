import { Button } from "@mantine/core";
import { useState } from "react";
import { incidents } from "../api/calls";
import { messageOf } from "../api/client";
import type { Incident } from "../api/types";
import { inert } from "../text/visible";
import { Drop } from "../ui/Drop";
import { download, toClipboard } from "../ui/files";
import css from "./Export.module.css";

/** What of an incident can be taken elsewhere. */
export function Export({ incident }: { incident: Incident }) {
  return (
    <Drop label="Export" subtle>
      {(close) => (
        <div className={css.menu}>
          <Take label="Download the postmortem" about="Markdown, of the records alone" incident={incident} take={(text) => download(text, `incident-${incident.number}.md`, "text/markdown")} then={close} />
          <Take
            label="Copy the postmortem"
            about="to paste it elsewhere"
            incident={incident}
            take={async (text) => {
              if (!(await toClipboard(text))) throw new Error("The browser does not allow it: download it instead.");
            }}
          />
        </div>
      )}
    </Drop>
  );
}

/** One way to take it, which says what became of it. */
function Take({ label, about, incident, take, then }: { label: string; about: string; incident: Incident; take: (text: string) => void | Promise<void>; then?: () => void }) {
  const [said, setSaid] = useState("");
  const [busy, setBusy] = useState(false);
  const run = async () => {
    setBusy(true);
    setSaid("");
    try {
      await take(await incidents.postmortem(incident.id, Intl.DateTimeFormat().resolvedOptions().timeZone || "UTC"));
      setSaid("Done.");
      then?.();
    } catch (error) {
      setSaid(inert(messageOf(error)));
    } finally {
      setBusy(false);
    }
  };
  return (
    <div>
      <Button variant="subtle" color="gray" size="compact-sm" fullWidth justify="flex-start" loading={busy} onClick={() => void run()}>
        {label}
      </Button>
      <p className={css.about} role={said ? "status" : undefined}>
        {said || about}
      </p>
    </div>
  );
}
