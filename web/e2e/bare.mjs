// Pages with nothing attached to them. Playwright listens to each request and
// script of a page, for which V8 reads the program again to say where each request
// came from: a quarter of the time to a first paint that nobody but a test has.

/**
 * Opens pages as the browser itself would. A page has the cookies of a context
 * and, as long as this is used, one cache and one storage.
 */
export async function bare(browser, context) {
  const root = await browser.newBrowserCDPSession();
  const waiting = new Map();
  let last = 0;
  root.on("Target.receivedMessageFromTarget", ({ message }) => {
    const { id, error, result } = JSON.parse(message);
    const answer = waiting.get(id);
    waiting.delete(id);
    if (error) answer?.reject(new Error(error.message));
    else answer?.resolve(result);
  });
  const { browserContextId } = await root.send("Target.createBrowserContext");
  await root.send("Storage.setCookies", { cookies: await context.cookies(), browserContextId });

  return {
    /** Goes to an address with a CPU so many times slower, and gives what a function finds there. */
    async visit(url, slower, find, ...args) {
      const { targetId } = await root.send("Target.createTarget", { url: "about:blank", browserContextId, newWindow: true, width: 1440, height: 900 });
      const { sessionId } = await root.send("Target.attachToTarget", { targetId, flatten: false });
      const send = (method, params) =>
        new Promise((resolve, reject) => {
          const id = ++last;
          waiting.set(id, { resolve, reject });
          root.send("Target.sendMessageToTarget", { sessionId, message: JSON.stringify({ id, method, params }) }).catch(reject);
        });
      await send("Emulation.setCPUThrottlingRate", { rate: slower });
      await send("Page.navigate", { url });
      const expression = `(${find})(...${JSON.stringify(args)})`;
      const { result, exceptionDetails } = await send("Runtime.evaluate", { expression, awaitPromise: true, returnByValue: true });
      await root.send("Target.closeTarget", { targetId });
      if (exceptionDetails) throw new Error(`${url}: ${exceptionDetails.exception?.description ?? exceptionDetails.text}`);
      return result.value;
    },
    async close() {
      await root.send("Target.disposeBrowserContext", { browserContextId });
      await root.detach();
    },
  };
}
