"use strict";
// Errors are put where a reader, and the test, can see them; the side navigation follows the page.
(function () {
  const fail = (text) => {
    document.body.dataset.error = text;
    const note = document.getElementById("script-error");
    if (note) { note.hidden = false; note.textContent = "A script of this page failed: " + text; }
  };
  window.addEventListener("error", (e) => fail(e.message));
  window.addEventListener("unhandledrejection", (e) => fail(String(e.reason)));

  window.addEventListener("DOMContentLoaded", () => {
    const links = new Map([...document.querySelectorAll("nav a[href^='#']")].map((a) => [a.hash.slice(1), a]));
    const targets = [...links.keys()].map((id) => document.getElementById(id)).filter(Boolean);
    const follow = () => {
      const line = window.innerHeight * 0.25;
      let now = targets[0];
      for (const t of targets) if (t.getBoundingClientRect().top <= line) now = t;
      const branch = now && (links.get(now.id).dataset.in || now.id);
      links.forEach((a, id) => {
        a.classList.toggle("here", Boolean(now) && id === now.id);
        if (a.dataset.in) a.hidden = a.dataset.in !== branch;
      });
    };
    window.addEventListener("scroll", follow, { passive: true });
    follow();
  });
})();
