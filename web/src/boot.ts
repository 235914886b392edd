import "./styles/mantine.css";
import "./styles/tokens.css";
import "./styles/base.css";
import { askEarly, expectsSession } from "./api/early";

/**
 * The start: small, so that what takes time begins at once and side by side. The
 * program, the page that the address names, who is signed in and what that page
 * shows first would otherwise be fetched one after the other.
 */

interface Landing {
  at: RegExp;
  page: () => Promise<unknown>;
  /** What the page asks first, as it asks it. */
  asks: (id: string) => string[];
}

/** Where people land. Other addresses work as well and start a little later. */
const landings: Landing[] = [
  { at: /^\/$/, page: () => import("./dashboard/DashboardPage"), asks: () => ["/api/v1/dashboard?window=day"] },
  { at: /^\/incidents$/, page: () => import("./incidents/IncidentsPage"), asks: () => (location.search === "" ? ["/api/v1/incidents?cursor=&limit=100", "/api/v1/incidents/facets"] : []) },
  { at: /^\/incidents\/([\w-]+)$/, page: () => import("./incidents/IncidentPage"), asks: (id) => [`/api/v1/incidents/${id}`] },
  { at: /^\/approvals$/, page: () => import("./approvals/ApprovalsPage"), asks: () => [] },
];

/** Begins what the address needs. What fails here is asked for again by the program, which says what is wrong. */
function land(): void {
  for (const { at, page, asks } of landings) {
    const match = at.exec(location.pathname);
    if (!match) continue;
    for (const path of asks(match[1] ?? "")) void askEarly(path);
    page().catch(() => undefined);
  }
}

function landOutside(): void {
  import("./auth/pages").catch(() => undefined);
}

if (/^\/(login|setup|accept)$/.test(location.pathname)) {
  landOutside();
} else {
  const session = askEarly("/api/v1/auth/session");
  // Who has no session is asked nothing else, which the api would refuse.
  if (expectsSession()) land();
  else void session.then((answer) => (answer?.ok ? land() : landOutside()));
}

function start(): void {
  void import("./main");
}
// It does not wait for the styles, but what it draws into must be there.
if (document.readyState === "loading") addEventListener("DOMContentLoaded", start, { once: true });
else start();
