// Light or dark before the first paint: what was chosen on this machine, else what the system prefers.
"use strict";
const prefersDark = matchMedia("(prefers-color-scheme: dark)");
function applyTheme() {
  let chosen = null;
  try { chosen = localStorage.getItem("candela.theme"); } catch { /* storage may be forbidden: then the system decides */ }
  document.documentElement.dataset.theme = chosen ?? (prefersDark.matches ? "dark" : "light");
}
applyTheme();
prefersDark.addEventListener("change", applyTheme);
