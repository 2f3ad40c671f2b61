const root = document.documentElement;
const theme = document.getElementById("theme");
const unfold = document.getElementById("unfold");
const system = matchMedia("(prefers-color-scheme: dark)");
const isDark = () => (root.dataset.theme || (system.matches ? "dark" : "light")) === "dark";
const showTheme = () => theme.setAttribute("aria-pressed", isDark());
theme.addEventListener("click", () => {
  root.dataset.theme = isDark() ? "light" : "dark";
  showTheme();
});
system.addEventListener("change", showTheme);
const all = () => [...document.querySelectorAll("details")];
unfold.addEventListener("click", () => {
  const fold = all().every((one) => one.open);
  all().forEach((one) => { one.open = !fold; });
});
addEventListener("beforeprint", () => {
  document.querySelectorAll("section > details:not(.sources)").forEach((one) => { one.open = true; });
});
theme.hidden = unfold.hidden = false;
showTheme();
