// Runs before the first paint, so that a dark room stays dark. A file of its
// own because the page allows no inline script.
(function () {
  var chosen = null;
  try {
    chosen = localStorage.getItem("akmatori-color-scheme");
  } catch (_) {
    // Storage may be blocked; the system's choice then holds.
  }
  var dark = chosen === "dark" || (chosen !== "light" && matchMedia("(prefers-color-scheme: dark)").matches);
  document.documentElement.setAttribute("data-mantine-color-scheme", dark ? "dark" : "light");
})();
