import { ActionIcon, Kbd, useMantineColorScheme } from "@mantine/core";
import { useQuery, useQueryClient } from "@tanstack/react-query";
import { Link, Outlet, useNavigate, useRouterState } from "@tanstack/react-router";
import { useEffect, useRef, useState } from "react";
import { approvals, auth } from "../api/calls";
import { useOnline, useReachable } from "../api/reachable";
import type { User } from "../api/types";
import { Notifier } from "../notify/Notifier";
import { inert } from "../text/visible";
import { useHotkeys } from "./hotkeys";
import { AgentIcon, AlertsIcon, ApproveIcon, AuditIcon, AutoIcon, ChangesIcon, CloseIcon, CostIcon, DashboardIcon, DocsIcon, GroupIcon, HealthIcon, IncidentIcon, KeyIcon, Logo, MaintenanceIcon, MemoryIcon, MenuIcon, ModelIcon, MoonIcon, OutIcon, PeopleIcon, RunbookIcon, SkillIcon, SourceIcon, SunIcon, TargetIcon, TokenIcon, ToolIcon } from "./icons";
import { sheet } from "./keys";
import { Palette } from "./Palette";
import { Empty } from "./parts";
import css from "./Shell.module.css";

/** What can be seen by whoever sees anything. */
const observe = [
  { to: "/alerts", label: "Alerts", icon: <AlertsIcon /> },
  { to: "/changes", label: "Changes", icon: <ChangesIcon /> },
  { to: "/usage", label: "Usage and cost", icon: <CostIcon /> },
  { to: "/system", label: "System health", icon: <HealthIcon /> },
] as const;

/** With what one must be allowed to see each; nothing is for everybody. */
const settings = [
  { to: "/sources", label: "Sources", icon: <SourceIcon />, needs: "read" },
  { to: "/grouping", label: "Grouping rules", icon: <GroupIcon />, needs: "read" },
  { to: "/maintenance", label: "Maintenance", icon: <MaintenanceIcon />, needs: "read" },
  { to: "/agents", label: "Agents", icon: <AgentIcon />, needs: "read" },
  { to: "/skills", label: "Skills", icon: <SkillIcon />, needs: "read" },
  { to: "/runbooks", label: "Runbooks", icon: <RunbookIcon />, needs: "read" },
  { to: "/memory", label: "Memory", icon: <MemoryIcon />, needs: "read" },
  { to: "/targets", label: "Targets", icon: <TargetIcon />, needs: "read" },
  { to: "/tools", label: "Tools", icon: <ToolIcon />, needs: "read" },
  { to: "/credentials", label: "Credentials", icon: <KeyIcon />, needs: "inventory.manage" },
  { to: "/providers", label: "LLM providers", icon: <ModelIcon />, needs: "read" },
  { to: "/accounts", label: "Users and roles", icon: <PeopleIcon />, needs: "accounts.manage" },
  { to: "/audit", label: "Audit log", icon: <AuditIcon />, needs: "audit.read" },
  { to: "/tokens", label: "API tokens", icon: <TokenIcon />, needs: "" },
  { to: "/docs", label: "API", icon: <DocsIcon />, needs: "" },
] as const;

/** What surrounds every page of a signed-in user. */
export function Shell({ user }: { user: User }) {
  const [open, setOpen] = useState(false);
  const path = useRouterState({ select: (s) => s.location.pathname });
  const navigate = useNavigate();
  const client = useQueryClient();
  const help = useRef<HTMLDialogElement>(null);

  const seen = settings.filter((s) => s.needs === "" || user.actions.includes(s.needs));
  // Its page would ask for what the api refuses.
  const closed = settings.find((s) => !seen.includes(s) && (path === s.to || path.startsWith(`${s.to}/`)));
  const places = [
    { to: "/", label: "Dashboard" },
    { to: "/incidents", label: "Incidents" },
    { to: "/approvals", label: "Approvals" },
    ...(user.actions.includes("read") ? observe.map(({ to, label }) => ({ to, label })) : []),
    ...seen.map(({ to, label }) => ({ to, label })),
    ...(user.actions.includes("inventory.manage") ? [{ to: "/wizard", label: "Set-up" }] : []),
    { to: "/account", label: "Your account" },
  ];

  useEffect(() => setOpen(false), [path]);
  useHotkeys("everywhere", {
    "?": () => help.current?.showModal(),
    "g d": () => void navigate({ to: "/" }),
    "g i": () => void navigate({ to: "/incidents" }),
    "g f": () => void navigate({ to: "/alerts" }),
    "g c": () => void navigate({ to: "/changes" }),
    "g u": () => void navigate({ to: "/usage" }),
    "g h": () => void navigate({ to: "/system" }),
    "g a": () => void navigate({ to: "/approvals" }),
    "g s": () => void navigate({ to: "/sources" }),
    "g r": () => void navigate({ to: "/grouping" }),
    "g m": () => void navigate({ to: "/maintenance" }),
    "g t": () => void navigate({ to: "/targets" }),
  });

  const signOut = async () => {
    try {
      await auth.logout();
    } finally {
      await navigate({ to: "/login" });
      client.clear(); // not before: what is still shown would ask anew, without a session
    }
  };

  return (
    <div className={css.shell}>
      <a className={css.skip} href="#main">
        Skip to the content
      </a>
      <div className={css.bar} data-open={open}>
        <div className={css.top}>
          <Link to="/" className={css.brand}>
            <Logo /> Akmatori
          </Link>
          <ActionIcon
            className={css.burger}
            variant="subtle"
            color="gray"
            size={44}
            aria-label={open ? "Close the menu" : "Open the menu"}
            aria-expanded={open}
            aria-controls="nav"
            onClick={() => setOpen(!open)}
          >
            {open ? <CloseIcon size={18} /> : <MenuIcon size={18} />}
          </ActionIcon>
        </div>
        <nav id="nav" aria-label="Main">
          <Link to="/" className={css.item} preload="intent" activeOptions={{ exact: true }}>
            <DashboardIcon /> Dashboard
          </Link>
          <Link to="/incidents" className={css.item}>
            <IncidentIcon /> Incidents
          </Link>
          <Link to="/approvals" className={css.item} preload="intent">
            <ApproveIcon /> Approvals {user.actions.includes("read") && <Waiting />}
          </Link>
          {user.actions.includes("read") &&
            observe.map((o) => (
              <Link key={o.to} to={o.to} className={css.item} preload="intent">
                {o.icon} {o.label}
              </Link>
            ))}
          <div className={css.group}>Configure</div>
          {seen.map((s) => (
            <Link key={s.to} to={s.to} className={css.item} preload="intent">
              {s.icon} {s.label}
            </Link>
          ))}
        </nav>
        <div className={css.foot}>
          <ThemeSwitch />
          <div className={css.who}>
            <Link to="/account" title="Your account">
              {inert(user.username)}
            </Link>
            <ActionIcon variant="subtle" color="gray" size={30} aria-label="Sign out" title="Sign out" onClick={() => void signOut()}>
              <OutIcon />
            </ActionIcon>
          </div>
        </div>
      </div>
      <main id="main" className={css.main} tabIndex={-1}>
        <ConnectionBanner />
        {closed ? (
          <Empty title="This page is not for your roles" more={<Link to="/incidents">To the incidents</Link>}>
            {`${closed.label} needs the permission ${closed.needs}. Who manages accounts can give it to you.`}
          </Empty>
        ) : (
          <Outlet />
        )}
      </main>
      <Notifier user={user} />
      <Palette places={places} searches={user.actions.includes("read")} />
      <dialog ref={help} className={css.help} aria-label="Keyboard" onClick={(e) => e.target === help.current && help.current.close()}>
        <h2>
          Keyboard
          <ActionIcon variant="subtle" color="gray" aria-label="Close" onClick={() => help.current?.close()}>
            <CloseIcon />
          </ActionIcon>
        </h2>
        {sheet.map(({ where, lines }) => (
          <section key={where}>
            <h3>{where}</h3>
            <dl>
              {lines.map(([key, does]) => (
                <Hint key={key} name={key} does={does} />
              ))}
            </dl>
          </section>
        ))}
        <p className="dim">
          This browser can tell you of critical incidents and approvals while the page is hidden: turn it on in <Link to="/account" onClick={() => help.current?.close()}>your account</Link>.
        </p>
      </dialog>
    </div>
  );
}

/** How many calls wait for a decision. */
function Waiting() {
  const query = useQuery({
    queryKey: ["approvals", "waiting"],
    queryFn: ({ signal }) => approvals.list({ state: "pending", limit: 100 }, { signal }),
    refetchInterval: 5_000,
  });
  const n = query.data?.items.length ?? 0;
  if (n === 0) return null;
  return (
    <span className={css.count} aria-label={`${n} waiting`}>
      {n >= 100 ? "99+" : n}
    </span>
  );
}

function Hint({ name, does }: { name: string; does: string }) {
  return (
    <>
      <dt>
        {name.split(" ").map((k, i) => (
          <span key={i}>
            {i > 0 && <span className="faint">then </span>}
            <Kbd mr={4}>{k}</Kbd>
          </span>
        ))}
      </dt>
      <dd className="dim">{does}</dd>
    </>
  );
}

function ConnectionBanner() {
  const online = useOnline();
  const reachable = useReachable();
  if (online && reachable) return null;
  return (
    <div className={css.banner} role="status">
      {online
        ? "Akmatori does not answer. What you see is what was last known; the page catches up by itself."
        : "You are offline. What you see is what was last known; the page catches up by itself."}
    </div>
  );
}

const schemes = [
  { value: "light", label: "Light", icon: <SunIcon size={15} /> },
  { value: "auto", label: "As the system", icon: <AutoIcon size={15} /> },
  { value: "dark", label: "Dark", icon: <MoonIcon size={15} /> },
] as const;

export function ThemeSwitch() {
  // Without keepTransitions Mantine would inject a <style>, which the policy refuses.
  const { colorScheme, setColorScheme } = useMantineColorScheme({ keepTransitions: true });
  const move = (by: number) => {
    const at = schemes.findIndex((s) => s.value === colorScheme);
    const next = schemes[(at + by + schemes.length) % schemes.length];
    if (next) setColorScheme(next.value);
  };
  return (
    <div
      className={css.theme}
      role="radiogroup"
      aria-label="Theme"
      onKeyDown={(e) => {
        if (e.key === "ArrowRight" || e.key === "ArrowDown") move(1);
        else if (e.key === "ArrowLeft" || e.key === "ArrowUp") move(-1);
        else return;
        e.preventDefault();
        const group = e.currentTarget;
        requestAnimationFrame(() => group.querySelector<HTMLElement>('[aria-checked="true"]')?.focus());
      }}
    >
      {schemes.map((s) => (
        <button
          key={s.value}
          type="button"
          role="radio"
          aria-checked={colorScheme === s.value}
          aria-label={s.label}
          title={s.label}
          tabIndex={colorScheme === s.value ? 0 : -1}
          onClick={() => setColorScheme(s.value)}
        >
          {s.icon}
        </button>
      ))}
    </div>
  );
}
