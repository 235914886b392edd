// Checks of how people sign in, against a real api: a second factor from the QR
// code to a recovery code, and an OpenID Connect provider of our own on loopback.
import { createHash, createHmac, generateKeyPairSync, randomBytes, sign } from "node:crypto";
import { createServer } from "node:http";
import { accessibility, assert, check, narrow, reportViolations, shot, until, watch, wide } from "./browser.mjs";

const json = { "Content-Type": "application/json" };
const b64 = (data) => Buffer.from(data).toString("base64url");

/** A code of RFC 6238, as an app makes it. */
function totp(secret, at = Date.now()) {
  const bits = [...secret].map((c) => "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567".indexOf(c).toString(2).padStart(5, "0")).join("");
  const key = Buffer.from(bits.match(/.{8}/g).map((byte) => parseInt(byte, 2)));
  const step = Buffer.alloc(8);
  step.writeBigUInt64BE(BigInt(Math.floor(at / 30_000)));
  const sum = createHmac("sha1", key).update(step).digest();
  return String((sum.readUInt32BE(sum.at(-1) & 0xf) & 0x7fffffff) % 1_000_000).padStart(6, "0");
}

/** A provider that lets in whoever `claims` are of, without asking. */
async function startProvider(claims) {
  const { privateKey, publicKey } = generateKeyPairSync("ec", { namedCurve: "P-256" });
  const codes = new Map();
  let issuer;
  const server = createServer(async (request, response) => {
    const url = new URL(request.url, issuer);
    let body = "";
    for await (const chunk of request) body += chunk;
    const answer = (status, value) => response.writeHead(status, json).end(JSON.stringify(value));
    if (url.pathname === "/.well-known/openid-configuration") {
      return answer(200, { issuer, authorization_endpoint: `${issuer}/authorize`, token_endpoint: `${issuer}/token`, jwks_uri: `${issuer}/keys`, response_types_supported: ["code"], id_token_signing_alg_values_supported: ["ES256"], code_challenge_methods_supported: ["S256"] });
    }
    if (url.pathname === "/keys") return answer(200, { keys: [{ ...publicKey.export({ format: "jwk" }), kid: "k", alg: "ES256", use: "sig" }] });
    if (url.pathname === "/authorize") {
      const code = randomBytes(16).toString("hex");
      codes.set(code, url.searchParams);
      const to = new URL(url.searchParams.get("redirect_uri"));
      to.search = new URLSearchParams({ code, state: url.searchParams.get("state") });
      return response.writeHead(302, { Location: to.href }).end();
    }
    const form = new URLSearchParams(body);
    const asked = codes.get(form.get("code"));
    codes.delete(form.get("code"));
    if (!asked || asked.get("code_challenge") !== createHash("sha256").update(form.get("code_verifier")).digest("base64url")) return answer(400, { error: "invalid_grant" });
    const now = Math.floor(Date.now() / 1000);
    const head = `${b64(JSON.stringify({ alg: "ES256", kid: "k" }))}.${b64(JSON.stringify({ iss: issuer, aud: "e2e", iat: now, exp: now + 60, nonce: asked.get("nonce"), ...claims }))}`;
    return answer(200, { access_token: "x", token_type: "Bearer", id_token: `${head}.${sign("sha256", Buffer.from(head), { key: privateKey, dsaEncoding: "ieee-p1363" }).toString("base64url")}` });
  });
  await new Promise((done) => server.listen(0, "127.0.0.1", done));
  issuer = `http://127.0.0.1:${server.address().port}`;
  return { issuer, claims, stop: () => new Promise((done) => server.close(done)) };
}

/** Runs them. What others would see they take back; users stay. */
export async function accountChecks({ browser, context, page, base }) {
  const mark = `s${Date.now().toString(36)}`;
  const erin = `erin-${mark}`;
  const olga = `olga-${mark}`;
  const password = "a long first password";
  const call = async (method, path, data) => {
    const answer = await context.request.fetch(`${base}/api/v1${path}`, { method, headers: json, ...(data && { data }) });
    assert(answer.ok(), `${method} ${path}: ${answer.status()} ${await answer.text()}`);
    return answer.status() === 204 ? undefined : answer.json();
  };
  const contexts = [];
  const somebody = async (options) => {
    const theirs = await browser.newContext(options);
    contexts.push(theirs);
    await reportViolations(theirs);
    const other = await theirs.newPage();
    other.setDefaultTimeout(10_000);
    return { other, watched: watch(other, base) };
  };
  const { other, watched } = await somebody({ viewport: narrow, colorScheme: "dark" });
  const signIn = async () => {
    await other.goto(`${base}/login`);
    await other.getByLabel("User name").fill(erin);
    await other.getByRole("textbox", { name: "Password" }).fill(password);
    await other.getByRole("button", { name: "Sign in", exact: true }).click();
  };
  const endSession = async (of) => {
    await of.goto("about:blank"); // a page that is open would ask once more, and be refused
    await of.request.post(`${base}/api/v1/auth/logout`);
  };
  const signOut = () => endSession(other);

  let secret;
  let codes;
  await check("a second factor is set up, and then asked for", async () => {
    const { link } = await call("POST", "/users", { username: erin, roles: ["viewer"] });
    const token = new URL(link).hash.slice("#token=".length);
    assert((await other.request.post(`${base}/api/v1/auth/accept`, { headers: json, data: { token, password } })).ok(), "the invitation does not work");
    await other.goto(`${base}/account`);
    await other.getByRole("button", { name: "Set up an app" }).click();
    await other.getByRole("img", { name: "QR code" }).waitFor();
    secret = (await other.getByLabel("the key", { exact: true }).innerText()).trim();
    await accessibility(other);
    await shot(other, "account-enrol-390-dark");
    await other.setViewportSize(wide);
    await other.emulateMedia({ colorScheme: "light" });
    await shot(other, "account-enrol-1440-light");
    watched.expect.push(/status of 403.*totp\/confirm/);
    await other.getByLabel("Six digits").fill("12345");
    await other.getByRole("button", { name: "Turn it on" }).click();
    await other.getByText("It is not set up yet.").waitFor();
    await other.getByLabel("Six digits").fill(totp(secret, Date.now() - 30_000));
    await other.getByRole("button", { name: "Turn it on" }).click();
    codes = (await other.getByLabel("recovery codes", { exact: true }).innerText()).trim().split(/\s+/);
    assert(codes.length === 10, `there are ${codes.length} recovery codes`);
    await accessibility(other);
    await shot(other, "account-codes-1440-light");
    await other.getByRole("button", { name: "I have saved it" }).click();
    await other.getByText("10 recovery codes are left").waitFor();
    assert(!(await other.content()).includes(codes[0]), "a recovery code is still on the page");
    await signOut();
    await signIn();
    await other.getByRole("heading", { name: "Your code" }).waitFor();
    await accessibility(other);
    await shot(other, "login-code-1440-light");
    await other.getByLabel("Six digits").fill(totp(secret));
    await other.getByRole("button", { name: "Sign in", exact: true }).click();
    await other.waitForURL(`${base}/`);
  });

  await check("a recovery code lets in who has lost their app, and an admin resets it", async () => {
    await signOut();
    await signIn();
    await other.getByRole("button", { name: "I have lost my app" }).click();
    await other.getByLabel("Recovery code").fill(codes[0].toUpperCase());
    await other.getByRole("button", { name: "Sign in", exact: true }).click();
    await other.waitForURL(`${base}/`);
    await page.setViewportSize(wide);
    await page.goto(`${base}/accounts`);
    await page.getByRole("button", { name: "Sign-in of admin" }).waitFor();
    await page.keyboard.press("/");
    await page.keyboard.type(erin.toUpperCase());
    await until("nobody else", async () => (await page.getByRole("button", { name: /^Sign-in of / }).count()) === 1);
    const row = page.getByRole("listitem").filter({ hasText: erin });
    await row.getByText("Second factor", { exact: true }).waitFor();
    await page.getByRole("button", { name: `Sign-in of ${erin}` }).click();
    await page.getByRole("button", { name: /^Reset it/ }).click();
    await page.getByRole("button", { name: "Really reset it" }).click();
    await row.getByText("Second factor", { exact: true }).waitFor({ state: "detached" });
    await signOut();
    await signIn();
    await other.waitForURL(`${base}/`);
  });

  const provider = await startProvider({ sub: `sub-${mark}`, preferred_username: olga, groups: ["on-call"] });
  await check("a provider is asked, set up with its groups, and people sign in with it", async () => {
    await page.goto(`${base}/accounts`);
    await page.getByRole("button", { name: "Set up a provider" }).click();
    await page.getByLabel("Name", { exact: true }).fill(`Example ${mark}`);
    await page.getByLabel("Issuer").fill(provider.issuer);
    await page.getByLabel("Client ID").fill("e2e");
    await page.getByRole("button", { name: "Ask the provider" }).click();
    await page.getByText(`${base}/api/v1/auth/oidc/callback`).waitFor();
    await page.getByLabel("Group 1", { exact: true }).fill("on-call");
    await page.getByRole("group", { name: "Roles of group 1" }).getByLabel("responder").check();
    await accessibility(page);
    await shot(page, "accounts-provider-1440-light");
    await page.setViewportSize(narrow);
    await page.emulateMedia({ colorScheme: "dark" });
    await shot(page, "accounts-provider-390-dark");
    await page.setViewportSize(wide);
    await page.emulateMedia({ colorScheme: "light" });
    await page.getByRole("button", { name: "Save", exact: true }).click();
    await page.getByRole("region", { name: "Sign-in with a provider" }).first().getByText("on-call: responder").waitFor();

    const { other: fresh, watched: watchedToo } = await somebody({ viewport: narrow, colorScheme: "light" });
    await fresh.goto(`${base}/sources`);
    await fresh.getByRole("link", { name: `Sign in with Example ${mark}` }).waitFor();
    await accessibility(fresh);
    await shot(fresh, "login-provider-390-light");
    await fresh.getByRole("link", { name: `Sign in with Example ${mark}` }).click();
    await fresh.waitForURL("**/sources");
    await fresh.goto(`${base}/account`);
    await fresh.getByText(`You are ${olga}`).waitFor();

    await page.reload();
    const row = page.getByRole("listitem").filter({ hasText: olga });
    await row.getByText("signs in with the provider").waitFor();
    assert(await page.getByRole("button", { name: `Roles of ${olga}` }).isDisabled(), "roles of groups can be changed by hand");
    await page.getByRole("button", { name: `Sign-in of ${olga}` }).click();
    await row.getByText(`sub-${mark}`).waitFor();
    await accessibility(page);
    await shot(page, "accounts-1440-light");

    provider.claims.groups = [];
    await endSession(fresh);
    await fresh.goto(`${base}/login`);
    await fresh.getByRole("link", { name: `Sign in with Example ${mark}` }).click();
    await fresh.getByText("none of your groups has a role here", { exact: false }).waitFor();
    await accessibility(fresh);
    await shot(fresh, "login-refused-390-light");
    const wrong = watchedToo.wrong.filter((w) => !w.startsWith(`request to ${provider.issuer}/authorize?`)); // the provider is where one is sent
    assert(wrong.length === 0, wrong.join("\n"));
  });

  await check("a provider that is away says so, and passwords go on", async () => {
    await provider.stop();
    await call("PUT", "/oidc-provider", { name: "Away", issuer: provider.issuer + "/away", client_id: "e2e", provision: true, enabled: true, groups: [] });
    await signOut();
    await other.goto(`${base}/login`);
    await other.getByRole("link", { name: "Sign in with Away" }).click();
    await other.getByText("Away does not answer", { exact: false }).waitFor();
    await signIn();
    await other.waitForURL(`${base}/`);
    await page.goto(`${base}/accounts`);
    await page.getByRole("button", { name: "Remove Away" }).click();
    await page.getByRole("button", { name: "Really remove Away" }).click();
    await page.getByRole("button", { name: "Set up a provider" }).waitFor();
    await until("no provider", async () => !(await (await context.request.get(`${base}/api/v1/auth/methods`)).json()).provider);
  });

  for (const one of contexts) await one.close();
  await check("nothing was refused by the policy while people signed in", () => {
    assert(watched.wrong.length === 0, watched.wrong.join("\n"));
  });
}
