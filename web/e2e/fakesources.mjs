// One source of the fake api: its health, its sender's configuration, and dead
// letters with hostile text.

const now = () => new Date().toISOString();
const ago = (ms) => new Date(Date.now() - ms).toISOString();

const rates = (count, step) =>
  Array.from({ length: count }, (_, i) => ({ at: ago((count - 1 - i) * step), deliveries: (i * 7) % 11, alerts: (i * 7) % 11, errors: i % 13 === 5 ? 1 : 0 }));

export const hostile = `{"title":"\u202e<img src=x onerror='window.hacked=1'>\u001b[2J"}`;

const letters = (source) =>
  Array.from({ length: 3 }, (_, i) => ({
    id: `d${i}`,
    source_id: source.id,
    received_at: ago((i + 1) * 90_000),
    content_type: "application/json\u202e",
    size: 40 + 900 * i,
    alerts: 0,
    truncated: 0,
    problem: "the body is not JSON: <b>error</b> at byte 1\u202e",
    unproven: i === 2,
  }));

/** Answers what is asked of a source, with a body and a status; undefined if it is nothing of a source. */
export function answer(state, route, body) {
  const [, method, id, rest = ""] = /^(\w+) \/sources\/([^/]+)(?:\/(.+))?$/.exec(route) ?? [];
  const letter = /^GET \/deliveries\/(\w+)$/.exec(route)?.[1];
  if (letter) return { body: { ...letters({ id: "" })[0], id: letter, body: hostile, cut: false } };
  if (id === undefined || id === "preview") return undefined;
  const source = state.sources.find((s) => s.id === id);
  if (!source) return { status: 404, body: { title: "Not Found", status: 404, detail: "there is no such source" } };
  switch (`${method} ${rest}`) {
    case "GET ":
      return { body: source };
    case "PATCH ":
      return { body: Object.assign(source, body) };
    case "GET setup":
      return {
        body: {
          secret_placeholder: "THE-SECRET",
          items: [{ title: "Into alertmanager.yml, then reload Alertmanager", language: "yaml", text: `url: "${source.webhook_url}"\ncredentials: "THE-SECRET"\n`, notes: ["Keep what you have."] }],
        },
      };
    case "GET health":
      return {
        body: {
          ...source.health,
          enabled: source.enabled,
          errors: source.health.unparsable ? [{ kind: "unparsable", count: 3, at: now(), text: "<b>byte</b> 1\u202e" }] : [],
          minutes: rates(60, 60_000),
          hours: rates(24, 3_600_000),
          last_hour: 60,
          last_day: source.health.deliveries,
          per_minute: 1,
          per_hour: 60,
          errors_last_hour: source.health.unparsable,
          errors_last_day: source.health.unparsable,
          dead_letters: source.health.unparsable ? 3 : 0,
          alerts_last_hour: 12,
          reconciliation: { missed: 0, resolved: 0, waiting: 0, has_secret: false },
        },
      };
    case "GET deliveries":
      return { body: { items: source.health.unparsable ? letters(source) : [], next_cursor: "" } };
    case "POST verify-only":
      return { body: Object.assign(source, { verify_until: body.minutes > 0 ? ago(-body.minutes * 60_000) : undefined }) };
    default:
      return undefined;
  }
}
