"use strict";
(() => {
  const stage = document.getElementById("stage");
  const button = document.getElementById("overlay");
  const strength = document.getElementById("strength");
  const toggle = () => {
    const on = stage.dataset.overlay !== "on";
    stage.dataset.overlay = on ? "on" : "off";
    button.setAttribute("aria-pressed", String(on));
  };
  if (button) button.addEventListener("click", toggle);
  if (strength) strength.addEventListener("input", () => stage.style.setProperty("--strength", strength.value / 100));
  const go = (name) => { if (name) location.href = "../" + name + "/index.html"; };
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.target.matches("input")) return;
    if (event.key === "o" && button) toggle();
    else if (event.key === "j" || event.key === "ArrowRight") go(document.body.dataset.next);
    else if (event.key === "k" || event.key === "ArrowLeft") go(document.body.dataset.previous);
    else if (event.key === "Escape") location.href = "../../index.html";
  });
})();
