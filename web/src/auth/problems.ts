/** Only a path of this page is a place to go back to. */
export function safePath(next: string | undefined): string {
  return next && /^\/(?![/\\])/.test(next) ? next : "/";
}

/** What a sign-in with the provider came to, as the api names it in the address. */
export function problemWords(problem: string, provider = "the provider"): string {
  const words: Record<string, string> = {
    off: "Signing in with a provider is not set up here. Use a password.",
    down: `${provider} does not answer, or not as it should. Try again in a minute; whoever has a password here can use it.`,
    expired: "That sign-in took too long, or began in another browser. Begin again.",
    denied: `${provider} did not let you in, or what it says cannot be believed. The audit log has the reason.`,
    account: `${provider} knows you, and there is no account for you here. Ask somebody who manages accounts to link you.`,
    roles: `${provider} knows you, and none of your groups has a role here. Ask somebody who manages accounts.`,
    taken: `Your user name at ${provider} is somebody else's here. Ask somebody who manages accounts to link you, if it is you.`,
    name: `${provider} gives no user name for you that can be used here.`,
    disabled: "Your account is disabled.",
  };
  return words[problem] ?? "Something went wrong. Begin again.";
}
