"use strict";
(() => {
  // The page reads well without this: it only sorts, filters and lists in steps.
  const STEP = 200;
  const rule = () => {
    const at = location.hash && document.getElementById(decodeURIComponent(location.hash.slice(1)));
    if (at && at.tagName === "DETAILS") at.open = true;
  };
  addEventListener("hashchange", rule);
  rule();
  const table = document.querySelector("table.flags");
  const form = document.querySelector("form.filters");
  if (!table || !form) return;
  const rows = [...table.tBodies];
  const texts = new Map();
  const pager = document.querySelector(".pager");
  const more = pager.querySelector("button");
  const out = form.querySelector("output");
  const say = (text, values) => text.replace(/\{(\w+)\}/g, (_, k) => values[k].toLocaleString());
  let order = rows;
  let most = STEP;

  const text = (row) => {
    if (!texts.has(row)) {
      const line = row.querySelector(".more summary, .more td");
      texts.set(row, (row.rows[0].textContent + " " + (line ? line.textContent : "")).toLowerCase());
    }
    return texts.get(row);
  };
  const list = () => {
    const want = Object.fromEntries(new FormData(form));
    const words = want.q.trim().toLowerCase().split(/\s+/).filter(Boolean);
    let matched = 0;
    for (const row of order) {
      const d = row.dataset;
      const fits = (!want.b || d.b.split(" ").includes(want.b)) && (!want.d || d.d === want.d) &&
        (!want.i || d.i === want.i) && (!want.p || d.p === want.p) && words.every((w) => text(row).includes(w));
      matched += fits;
      row.hidden = !fits || matched > most;
    }
    const shown = Math.min(matched, most);
    out.textContent = say(out.dataset.text, { shown, matched, total: rows.length });
    pager.hidden = shown === matched;
    more.textContent = say(more.dataset.text, { n: Math.min(STEP, matched - shown) });
  };
  const heads = [...table.tHead.rows[0].cells];
  const sort = (at, up) => {
    const isNumber = heads[at].dataset.sort === "num";
    const value = (row) => {
      const cell = row.rows[0].cells[at];
      return isNumber ? Number(cell.dataset.v) : cell.textContent;
    };
    const keyed = rows.map((row) => [value(row), row]);
    const compare = isNumber ? (a, b) => a[0] - b[0] : (a, b) => a[0].localeCompare(b[0], document.documentElement.lang);
    keyed.sort((a, b) => (up ? compare(a, b) : compare(b, a)));
    order = keyed.map((k) => k[1]);
    const part = document.createDocumentFragment();
    part.append(...order);
    table.append(part);
    heads.forEach((h, i) => h.setAttribute("aria-sort", i === at ? (up ? "ascending" : "descending") : "none"));
    list();
  };
  heads.forEach((head, at) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    head.append(button);
    head.setAttribute("aria-sort", "none");
    button.addEventListener("click", () => sort(at, head.getAttribute("aria-sort") === "descending" || (head.getAttribute("aria-sort") === "none" && head.dataset.sort === "text")));
  });
  const listed = () => rows.filter((row) => !row.hidden).map((row) => row.querySelector("details")).filter(Boolean);
  const acts = {
    open: () => listed().forEach((x) => { x.open = true; }),
    close: () => rows.forEach((row) => row.querySelectorAll("details").forEach((x) => { x.open = false; })),
    more: () => { most += STEP; list(); },
  };
  document.querySelectorAll("button[data-do]").forEach((b) => b.addEventListener("click", () => acts[b.dataset.do]()));
  form.addEventListener("submit", (e) => e.preventDefault());
  form.addEventListener("input", () => { most = STEP; list(); });
  form.addEventListener("reset", () => setTimeout(() => { most = STEP; list(); }));
  document.querySelectorAll("a[data-by]").forEach((a) => a.addEventListener("click", () => {
    form.reset();
    form.elements[a.dataset.by].value = a.dataset.is || "-";
    setTimeout(() => { most = STEP; list(); });
  }));
  form.hidden = false;
  list();
})();
