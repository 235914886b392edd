/**
 * What the first page asks for, asked before the program that shows it is there.
 * The program takes each answer once, in place of asking itself. An address that
 * nobody asks for is forgotten, so a wrong guess costs one request and shows nothing.
 */

/** What is older has been overtaken: it is asked for anew. */
const fresh = 10_000;

const asked = new Map<string, { at: number; answer: Promise<Response | undefined> }>();

/** Asks for an address of the api. What it gives says how that went and is not to be read: the program does. */
export function askEarly(path: string): Promise<Response | undefined> {
  const url = new URL(path, location.origin).href;
  // The program asks again for what was not reached, and says so.
  const answer = fetch(url, { cache: "no-store", headers: { Accept: "application/json" } }).catch(() => undefined);
  asked.set(url, { at: performance.now(), answer });
  return answer;
}

/** The answer to a request that was asked early, if there is one. After a change, whatever it was, there is none. */
export async function earlyAnswer(request: Request): Promise<Response | undefined> {
  if (request.method !== "GET") {
    asked.clear();
    return undefined;
  }
  const early = asked.get(request.url);
  asked.delete(request.url);
  if (!early || performance.now() - early.at > fresh) return undefined;
  const answer = await early.answer;
  request.signal.throwIfAborted();
  return answer;
}

const key = "akmatori-signed-in";

/** Whether this browser had a session when it last asked. Who it was is not kept. */
export function expectsSession(): boolean {
  try {
    return localStorage.getItem(key) !== null;
  } catch {
    return false; // storage may be blocked; the page then asks later
  }
}

/** Keeps whether there is a session, for the next start of the page. */
export function expectSession(is: boolean): void {
  try {
    if (is === (localStorage.getItem(key) !== null)) return;
    if (is) localStorage.setItem(key, "1");
    else localStorage.removeItem(key);
  } catch {
    // As above.
  }
}
