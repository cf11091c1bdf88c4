"use strict";
// The worklist: everything stands in the page itself, so it also works from a stick, without a network.
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const byId = (id) => document.getElementById(id);
  const CHUNK = 60;
  const state = { decision: "", search: "", site: "", order: "urgency", view: "cases", shown: CHUNK };
  let current = [];

  const text = (tag, name, value) => {
    const node = document.createElement(tag);
    if (name) node.className = name;
    if (value !== undefined && value !== null) node.textContent = value;
    return node;
  };

  const pill = (decision) => {
    const known = data.decisions[decision];
    const node = text("span", "pill", known.label);
    node.dataset.mark = known.mark;
    return node;
  };

  const meter = (row) => {
    const box = text("div");
    if (row.p === null) { box.append(text("span", "quiet", "no answer")); return box; }
    const line = text("div", "answer", row.prediction);
    line.append(text("span", "quiet", " referral " + (100 * row.p).toFixed(1) + " %"));
    const bar = text("div", "meter");
    bar.title = "Probability of referral " + row.p.toFixed(3)
      + (row.t === null ? "" : ", threshold " + row.t.toFixed(3));
    const fill = text("i");
    fill.style.width = 100 * row.p + "%";
    bar.append(fill);
    if (row.t !== null) {
      const mark = text("u");
      mark.style.left = "calc(" + 100 * row.t + "% - 1px)";
      bar.append(mark);
    }
    box.append(line, bar);
    return box;
  };

  const caseRow = (row) => {
    const node = text("a", "row decision " + row.decision);
    node.href = "cases/" + row.case + "/index.html";
    const thumb = text("div", "thumb", row.thumb ? undefined : "∅");
    if (row.thumb) {
      const image = document.createElement("img");
      image.loading = "lazy"; image.decoding = "async"; image.alt = "";
      image.src = "cases/" + row.case + "/" + row.thumb;
      thumb.append(image);
    }
    const decided = text("div");
    decided.append(pill(row.decision));
    const name = text("div");
    name.append(text("div", "name", row.name));
    const who = [row.patient, row.eye].filter(Boolean).join(" · ");
    name.append(text("div", "quiet", who || "case " + row.number));
    const why = text("div");
    why.append(text("div", "why", row.reasons.join("; ")));
    if (row.copy) why.append(text("div", "quiet", "same content as " + row.copy));
    node.append(thumb, decided, name, text("div", "quiet", row.site || "no site given"), meter(row),
      text("div", "quiet", row.ood === null ? "" : row.ood.toFixed(1)), why);
    return node;
  };

  const patientRow = (row) => {
    const node = text(row.case ? "a" : "div", "row decision " + row.decision);
    if (row.case) node.href = "cases/" + row.case + "/index.html";
    const decided = text("div");
    decided.append(pill(row.decision));
    node.append(decided, text("div", "name", row.patient), text("div", "quiet", row.site),
      text("div", "quiet", row.images + (row.images === 1 ? " image" : " images")), text("div", "why", row.reason));
    return node;
  };

  const matches = (row, words) => {
    if (state.decision && row.decision !== state.decision) return false;
    if (state.site !== "" && row.site !== data.sites[Number(state.site)]) return false;
    if (row.hay === undefined) {
      row.hay = [row.name, row.patient, row.site, row.prediction, row.code, row.status,
        (row.reasons || [row.reason]).join(" ")].join(" ").toLowerCase();
    }
    return words.every((word) => row.hay.includes(word));
  };

  const orders = {
    urgency: (a, b) => a.rank - b.rank || (b.p ?? -1) - (a.p ?? -1) || a.number - b.number,
    number: (a, b) => a.number - b.number,
    ood: (a, b) => (b.ood ?? -1) - (a.ood ?? -1) || a.number - b.number,
  };

  const draw = () => {
    const place = byId("cases");
    const words = state.search.toLowerCase().split(/\s+/).filter(Boolean);
    const patients = state.view === "patients";
    current = (patients ? data.patients : data.cases).filter((row) => matches(row, words));
    if (!patients) current.sort(orders[state.order]);
    place.replaceChildren();
    place.className = patients ? "patients" : "";
    if (!patients) {
      const head = text("div", "row head");
      for (const label of ["", "What to do", "Case", "Site", "Answer", "OOD pct.", "Why"]) {
        const cell = text("div", "", label);
        if (label === "OOD pct.") cell.title = "Distance from the training images, as a percentile of theirs";
        head.append(cell);
      }
      place.append(head);
    }
    const list = text("div", "list");
    if (!current.length) list.append(text("p", "empty", "Nothing fits. Press Esc to show all."));
    place.append(list);
    byId("count").textContent = current.length + " of " + (patients ? data.patients : data.cases).length;
    grow(list, Math.min(state.shown, current.length));
  };

  const grow = (list, upTo) => {
    const make = state.view === "patients" ? patientRow : caseRow;
    const part = document.createDocumentFragment();
    for (let n = list.querySelectorAll(".row").length; n < upTo; n++) part.append(make(current[n]));
    list.append(part);
  };

  const more = () => {
    const list = document.querySelector("#cases .list");
    const near = window.innerHeight + window.scrollY > document.body.offsetHeight - 900;
    if (near && list && state.shown < current.length) {
      state.shown = Math.min(state.shown + CHUNK, current.length);
      grow(list, state.shown);
      requestAnimationFrame(more);
    }
  };

  const set = (changes) => { Object.assign(state, { shown: CHUNK }, changes); chips(); draw(); };

  const chips = () => {
    const place = byId("decisions");
    place.replaceChildren();
    const rows = state.view === "patients" ? data.patients : data.cases;
    const counts = {};
    for (const row of rows) counts[row.decision] = (counts[row.decision] || 0) + 1;
    for (const [name, known] of Object.entries(data.decisions)) {
      const chip = text("button", "chip decision " + name);
      chip.append(text("b", "", counts[name] || 0), document.createTextNode(known.label));
      chip.disabled = !counts[name];
      chip.setAttribute("aria-pressed", String(state.decision === name));
      chip.addEventListener("click", () => set({ decision: state.decision === name ? "" : name }));
      place.append(chip);
    }
    const views = byId("views");
    views.replaceChildren();
    if (!data.patients.length) return;
    for (const [name, label] of [["cases", "Cases"], ["patients", "Patients"]]) {
      const chip = text("button", "chip", label);
      chip.setAttribute("aria-pressed", String(state.view === name));
      chip.addEventListener("click", () => set({ view: name, decision: "" }));
      views.append(chip);
    }
  };

  const site = byId("site");
  site.append(new Option("All sites", ""));
  data.sites.forEach((name, index) => site.append(new Option(name || "no site given", String(index))));
  site.hidden = data.sites.length < 2;
  site.addEventListener("change", () => set({ site: site.value }));
  byId("order").addEventListener("change", (event) => set({ order: event.target.value }));
  byId("search").addEventListener("input", (event) => set({ search: event.target.value }));
  window.addEventListener("scroll", more, { passive: true });

  const step = (by) => {
    const rows = [...document.querySelectorAll("#cases a.row")];
    const at = rows.indexOf(document.activeElement);
    const next = rows[at < 0 ? 0 : Math.max(0, Math.min(rows.length - 1, at + by))];
    if (next) { next.focus(); more(); }
  };

  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const typing = event.target.matches("input, select");
    if (event.key === "Escape") {
      byId("search").value = ""; site.value = "";
      set({ decision: "", search: "", site: "" });
      document.activeElement.blur();
    } else if (!typing && event.key === "/") { event.preventDefault(); byId("search").focus(); }
    else if (typing && event.target.id === "search" && event.key === "Enter") { step(1); event.preventDefault(); }
    else if (!typing && (event.key === "j" || event.key === "ArrowDown")) { event.preventDefault(); step(1); }
    else if (!typing && (event.key === "k" || event.key === "ArrowUp")) { event.preventDefault(); step(-1); }
    else if (!typing && /^[1-5]$/.test(event.key)) {
      const chip = byId("decisions").children[Number(event.key) - 1];
      if (chip && !chip.disabled) chip.click();
    }
  });
  set({});
})();
