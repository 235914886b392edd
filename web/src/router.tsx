import { readSearch as readAuditSearch } from "./audit/audit";
import { readSearch as readMemorySearch } from "./memory/memory";
import type { QueryClient } from "@tanstack/react-query";
import { createRootRouteWithContext, createRoute, createRouter, lazyRouteComponent, Outlet, redirect, useRouter } from "@tanstack/react-router";
import { useEffect } from "react";
import { auth } from "./api/calls";
import { ApiError } from "./api/client";
import { readAlertSearch } from "./alerts/feed";
import { readSearch } from "./incidents/filter";
import { Empty, Problem } from "./ui/parts";
import { Shell } from "./ui/Shell";
import { type StepName, steps } from "./wizard/steps";

/** The routes. Each page is a chunk of its own, fetched when it is first wanted. */

interface Context {
  client: QueryClient;
}

const root = createRootRouteWithContext<Context>()({
  component: Outlet,
  notFoundComponent: () => <Empty title="There is no such page" more={<a href="/incidents">To the incidents</a>} />,
  errorComponent: Broken,
});

/** The page could not even start. What was a matter of the network ends by itself. */
function Broken({ error }: { error: unknown }) {
  const router = useRouter();
  const passes = error instanceof ApiError && (error.status === 0 || error.status >= 500);
  useEffect(() => {
    if (!passes) return;
    const again = () => void router.invalidate();
    const timer = setInterval(again, 5_000);
    addEventListener("online", again);
    return () => {
      clearInterval(timer);
      removeEventListener("online", again);
    };
  }, [passes, router]);
  return (
    <div style={{ padding: 24 }}>
      <Problem what="The page could not be shown." error={error} retry={() => void router.invalidate()} />
    </div>
  );
}

const login = createRoute({
  getParentRoute: () => root,
  path: "/login",
  validateSearch: (search: Record<string, unknown>): { next?: string; problem?: string; code?: "due" } => ({
    ...(typeof search.next === "string" ? { next: search.next } : {}),
    ...(typeof search.problem === "string" ? { problem: search.problem } : {}),
    ...(search.code === "due" ? { code: "due" } : {}),
  }),
  component: lazyRouteComponent(() => import("./auth/pages"), "LoginPage"),
});

const setup = createRoute({
  getParentRoute: () => root,
  path: "/setup",
  component: lazyRouteComponent(() => import("./auth/SetupPage"), "SetupPage"),
});

const accept = createRoute({
  getParentRoute: () => root,
  path: "/accept",
  component: lazyRouteComponent(() => import("./accounts/AcceptPage"), "AcceptPage"),
});

/** Everything below needs a session; whoever has none signs in and comes back. */
const signedIn = createRoute({
  getParentRoute: () => root,
  id: "signed-in",
  beforeLoad: async ({ context, location }) => {
    try {
      const { user } = await context.client.ensureQueryData({
        queryKey: ["session"],
        queryFn: auth.session,
        staleTime: Infinity,
      });
      return { user };
    } catch (cause) {
      if (cause instanceof ApiError && cause.status === 401) {
        throw redirect({ to: "/login", search: location.href === "/" ? {} : { next: location.href } });
      }
      throw cause;
    }
  },
  component: function SignedIn() {
    return <Shell user={signedIn.useRouteContext().user} />;
  },
});

const home = createRoute({
  getParentRoute: () => signedIn,
  path: "/",
  component: lazyRouteComponent(() => import("./dashboard/DashboardPage"), "DashboardPage"),
});

const wizard = createRoute({
  getParentRoute: () => signedIn,
  path: "/wizard",
  validateSearch: (search: Record<string, unknown>): { step?: StepName } => {
    const step = steps.find((s) => s.name === search.step)?.name;
    return step ? { step } : {};
  },
  component: lazyRouteComponent(() => import("./wizard/WizardPage"), "WizardPage"),
});

const alerts = createRoute({
  getParentRoute: () => signedIn,
  path: "/alerts",
  validateSearch: readAlertSearch,
  component: lazyRouteComponent(() => import("./alerts/AlertsPage"), "AlertsPage"),
});

const usage = createRoute({
  getParentRoute: () => signedIn,
  path: "/usage",
  component: lazyRouteComponent(() => import("./usage/UsagePage"), "UsagePage"),
});

const system = createRoute({
  getParentRoute: () => signedIn,
  path: "/system",
  component: lazyRouteComponent(() => import("./system/SystemPage"), "SystemPage"),
});

const changes = createRoute({
  getParentRoute: () => signedIn,
  path: "/changes",
  component: lazyRouteComponent(() => import("./changes/ChangesPage"), "ChangesPage"),
});

const incidents = createRoute({
  getParentRoute: () => signedIn,
  path: "/incidents",
  validateSearch: readSearch,
  loader: async ({ context, location }) => (await import("./incidents/IncidentsPage")).prepare(context.client, readSearch(location.search)),
  component: lazyRouteComponent(() => import("./incidents/IncidentsPage"), "IncidentsPage"),
});

const incident = createRoute({
  getParentRoute: () => signedIn,
  path: "/incidents/$id",
  component: lazyRouteComponent(() => import("./incidents/IncidentPage"), "IncidentPage"),
});

const approvals = createRoute({
  getParentRoute: () => signedIn,
  path: "/approvals",
  component: lazyRouteComponent(() => import("./approvals/ApprovalsPage"), "ApprovalsPage"),
});

const sources = createRoute({
  getParentRoute: () => signedIn,
  path: "/sources",
  component: lazyRouteComponent(() => import("./settings/SourcesPage"), "SourcesPage"),
});

const source = createRoute({
  getParentRoute: () => signedIn,
  path: "/sources/$id",
  component: lazyRouteComponent(() => import("./sources/SourcePage"), "SourcePage"),
});

const grouping = createRoute({
  getParentRoute: () => signedIn,
  path: "/grouping",
  component: lazyRouteComponent(() => import("./grouping/GroupingPage"), "GroupingPage"),
});

const maintenance = createRoute({
  getParentRoute: () => signedIn,
  path: "/maintenance",
  component: lazyRouteComponent(() => import("./grouping/MaintenancePage"), "MaintenancePage"),
});

const accounts = createRoute({
  getParentRoute: () => signedIn,
  path: "/accounts",
  component: lazyRouteComponent(() => import("./accounts/AccountsPage"), "AccountsPage"),
});

const account = createRoute({
  getParentRoute: () => signedIn,
  path: "/account",
  component: lazyRouteComponent(() => import("./accounts/AccountPage"), "AccountPage"),
});

const audit = createRoute({
  getParentRoute: () => signedIn,
  path: "/audit",
  validateSearch: readAuditSearch,
  component: lazyRouteComponent(() => import("./audit/AuditPage"), "AuditPage"),
});

const memory = createRoute({
  getParentRoute: () => signedIn,
  path: "/memory",
  validateSearch: readMemorySearch,
  component: lazyRouteComponent(() => import("./memory/MemoryPage"), "MemoryPage"),
});

const targets = createRoute({
  getParentRoute: () => signedIn,
  path: "/targets",
  component: lazyRouteComponent(() => import("./settings/TargetsPage"), "TargetsPage"),
});

const tools = createRoute({
  getParentRoute: () => signedIn,
  path: "/tools",
  component: lazyRouteComponent(() => import("./tools/ToolsPage"), "ToolsPage"),
});

const toolServer = createRoute({
  getParentRoute: () => signedIn,
  path: "/tools/$id",
  component: lazyRouteComponent(() => import("./tools/ServerPage"), "ServerPage"),
});

const agents = createRoute({
  getParentRoute: () => signedIn,
  path: "/agents",
  component: lazyRouteComponent(() => import("./agents/AgentsPage"), "AgentsPage"),
});

const agent = createRoute({
  getParentRoute: () => signedIn,
  path: "/agents/$id",
  component: lazyRouteComponent(() => import("./agents/AgentPage"), "AgentPage"),
});

const skills = createRoute({
  getParentRoute: () => signedIn,
  path: "/skills",
  component: lazyRouteComponent(() => import("./skills/SkillsPage"), "SkillsPage"),
});

const skill = createRoute({
  getParentRoute: () => signedIn,
  path: "/skills/$name",
  component: lazyRouteComponent(() => import("./skills/SkillPage"), "SkillPage"),
});

const runbooks = createRoute({
  getParentRoute: () => signedIn,
  path: "/runbooks",
  validateSearch: (search: Record<string, unknown>): { q?: string } => (search.q === undefined || search.q === "" ? {} : { q: String(search.q).slice(0, 200) }),
  component: lazyRouteComponent(() => import("./skills/RunbooksPage"), "RunbooksPage"),
});

const runbook = createRoute({
  getParentRoute: () => signedIn,
  path: "/runbooks/$slug",
  component: lazyRouteComponent(() => import("./skills/RunbookPage"), "RunbookPage"),
});

const credentials = createRoute({
  getParentRoute: () => signedIn,
  path: "/credentials",
  component: lazyRouteComponent(() => import("./settings/CredentialsPage"), "CredentialsPage"),
});

const providers = createRoute({
  getParentRoute: () => signedIn,
  path: "/providers",
  component: lazyRouteComponent(() => import("./settings/ProvidersPage"), "ProvidersPage"),
});

const tokens = createRoute({
  getParentRoute: () => signedIn,
  path: "/tokens",
  component: lazyRouteComponent(() => import("./settings/TokensPage"), "TokensPage"),
});

const docs = createRoute({
  getParentRoute: () => signedIn,
  path: "/docs",
  component: lazyRouteComponent(() => import("./docs/DocsPage"), "DocsPage"),
});

export function makeRouter(client: QueryClient) {
  return createRouter({
    routeTree: root.addChildren([
      login,
      setup,
      accept,
      signedIn.addChildren([grouping, maintenance, accounts, account, audit, home, wizard, alerts, usage, system, changes, incidents, incident, approvals, sources, source, agents, agent, skills, skill, runbooks, runbook, memory, targets, tools, toolServer, credentials, providers, tokens, docs]),
    ]),
    context: { client },
    defaultPreload: "intent",
    defaultPreloadStaleTime: 0,
    scrollRestoration: true,
  });
}

declare module "@tanstack/react-router" {
  interface Register {
    router: ReturnType<typeof makeRouter>;
  }
}
