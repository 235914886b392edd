/** What a browser calls itself, as people call it. What is not known is shown as it is, short. */
export function browserOf(agent: string): string {
  const name = [
    [/\bEdg(?:e|A|iOS)?\//, "Edge"],
    [/\bOPR\//, "Opera"],
    [/\b(?:Firefox|FxiOS)\//, "Firefox"],
    [/\b(?:HeadlessChrome|Chrome|Chromium|CriOS)\//, "Chrome"],
    [/\bVersion\/[\d.]+ .*Safari\//, "Safari"],
  ].find(([pattern]) => (pattern as RegExp).test(agent))?.[1];
  const system = [
    [/\b(?:iPhone|iPad)\b/, "iOS"],
    [/\bAndroid\b/, "Android"],
    [/\bWindows\b/, "Windows"],
    [/\bMac OS X\b/, "macOS"],
    [/\bCrOS\b/, "ChromeOS"],
    [/\bLinux\b/, "Linux"],
  ].find(([pattern]) => (pattern as RegExp).test(agent))?.[1];
  if (name && system) return `${String(name)} on ${String(system)}`;
  if (name ?? system) return String(name ?? system);
  const short = agent.trim().slice(0, 60);
  return short || "Something that does not name itself";
}
