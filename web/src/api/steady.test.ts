import { notifyManager, QueryClient, QueryObserver } from "@tanstack/react-query";
import { expect, it } from "vitest";
import { keepErrors } from "./steady";

it("shows an error until there is an answer, and nothing in between", async () => {
  const client = new QueryClient({ defaultOptions: { queries: { retry: false } } });
  keepErrors(client);
  let answers = false;
  let gate = Promise.resolve();
  const observer = new QueryObserver(client, {
    queryKey: ["x"],
    queryFn: async () => {
      await gate;
      if (!answers) throw new Error("away");
      return "fine";
    },
  });
  const seen: string[] = [];
  // As the hooks do it: they are told when all that comes of an event is done, and look then.
  const look = () => {
    const r = observer.getCurrentResult();
    const now = r.error ? r.error.message : (r.data ?? "nothing");
    if (seen.at(-1) !== now) seen.push(now);
  };
  const stop = observer.subscribe(notifyManager.batchCalls(look));
  look();
  await expect.poll(() => seen).toEqual(["nothing", "away"]);

  let open = () => {};
  gate = new Promise((go) => (open = go));
  const again = observer.refetch();
  await new Promise<void>((go) => notifyManager.schedule(go));
  expect(observer.getCurrentResult().fetchStatus).toBe("fetching");
  expect(seen).toEqual(["nothing", "away"]);
  open();
  await again;
  expect(seen).toEqual(["nothing", "away"]);
  answers = true;
  await observer.refetch();
  await expect.poll(() => seen).toEqual(["nothing", "away", "fine"]);
  stop();
});
