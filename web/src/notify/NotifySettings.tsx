import { Switch } from "@mantine/core";
import { useState, useSyncExternalStore } from "react";
import { useMay } from "../accounts/may";
import { Card } from "../ui/parts";
import type { Wishes } from "./news";
import css from "./notify.module.css";
import { wishes } from "./wishes";

/** What this browser tells of while the page is hidden. The browser is asked for its permission when the first is turned on, never before. */
export function NotifySettings() {
  const may = useMay();
  const wish = useSyncExternalStore(wishes.watch, wishes.get);
  const [refused, setRefused] = useState("");
  const turn = async (name: keyof Wishes, on: boolean) => {
    setRefused("");
    if (on) {
      if (!("Notification" in globalThis)) return setRefused("This browser shows no notifications to pages like this one. They need https, or this very machine.");
      if ((await Notification.requestPermission()) !== "granted") return setRefused("The browser does not allow it. Allow notifications for this page in its settings, then turn it on again.");
    }
    wishes.set({ ...wishes.get(), [name]: on });
  };
  const choices: [keyof Wishes, string, boolean][] = [
    ["critical", "A new critical incident", may("read")],
    ["approval", "An approval waits for me", may("approvals.decide")],
    ["mine", "The investigation of an incident of mine has ended", may("read")],
  ];
  const open = choices.filter(([, , can]) => can);
  if (open.length === 0) return null;
  return (
    <Card label="Notifications in this browser">
      <div className={css.section}>
        <h2>Notifications in this browser</h2>
        <p className="dim">Shown on the desktop while a tab with Akmatori is open and not looked at. They are kept in this browser alone.</p>
        {open.map(([name, label]) => (
          <Switch key={name} label={label} checked={wish[name]} onChange={(e) => void turn(name, e.currentTarget.checked)} />
        ))}
        {refused && <p role="alert">{refused}</p>}
      </div>
    </Card>
  );
}
