"use strict";
// The token view: draws the examples that the filters leave, some at a time. Nothing is fetched.
(() => {
  const source = document.getElementById("samples");
  if (!source) return;
  const data = JSON.parse(source.textContent);
  const list = document.getElementById("examples"), more = document.getElementById("more"), count = document.getElementById("count");
  const filters = ["run", "round", "method", "outcome"].map((key) => ({ key, select: document.getElementById("filter-" + key) }))
    .filter((filter) => filter.select);
  const AT_ONCE = 12;
  let shown = 0, chosen = [];

  const element = (name, attributes, ...children) => {
    const made = document.createElement(name);
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
    made.append(...children);
    return made;
  };
  const label = (key, value) => key === "round" ? (value === 0 ? "held-out" : "round " + value) : key === "run" ? data.runs[value] : value;

  const token = (line, i) => {
    const piece = data.pieces[line.tokens[i]];
    const span = element("span", { class: "t o" + line.origin[i] });
    span.textContent = piece.text.replace(/\n/g, "↵\n");
    if (piece.special) span.classList.add("special");
    const notes = [];
    const gold = line.gold && line.gold[i];
    if (gold !== undefined && gold !== null) {
      span.classList.add("d");
      notes.push(gold === "" ? "gold: nothing here" : "gold: " + gold);
    }
    const surprise = line.surprise && line.surprise[i];
    if (surprise !== undefined && surprise !== null) {
      span.classList.add("p");
      span.style.setProperty("--a", Math.min(1, surprise / 80).toFixed(2));
      notes.push("log p " + (-surprise / 10).toFixed(1) + " (p " + (100 * Math.exp(-surprise / 10)).toPrecision(2) + "%)");
    }
    notes.push(data.origins[line.origin[i]] + ", id " + piece.id);
    span.dataset.note = notes.join("\n");
    if (line.gold && line.gold[i] !== undefined) span.tabIndex = 0;
    return span;
  };
  const draw = (sample) => {
    const header = element("header", {}, element("b", {}, label("round", sample.round)));
    if (data.runs.length > 1) header.append(element("span", {}, data.runs[sample.run]));
    header.append(element("span", {}, sample.method), element("span", {}, "example " + sample.example + (sample.sample ? ", sample " + sample.sample : "")),
      element("span", { class: "outcome" }, sample.outcome));
    const article = element("article", { class: "example" }, header);
    for (const line of sample.lines) {
      const tokens = element("div", { class: "tokens" });
      for (let i = 0; i < line.tokens.length; ++i) tokens.append(token(line, i));
      if (!line.tokens.length) tokens.append(element("span", { class: "special" }, "(nothing)"));
      article.append(element("div", { class: "row" }, element("div", { class: "name" }, line.name), tokens));
    }
    return article;
  };
  const next = () => {
    list.append(...chosen.slice(shown, shown + AT_ONCE).map(draw));
    shown = Math.min(shown + AT_ONCE, chosen.length);
    more.hidden = shown >= chosen.length;
    more.textContent = "Show more (" + (chosen.length - shown) + ")";
  };
  const update = () => {
    chosen = data.samples.filter((sample) => filters.every(({ key, select }) => select.value === "" || String(sample[key]) === select.value));
    // From every round something: the first of each, then the second of each ..., plain training behind the others.
    const seen = {};
    const place = new Map(chosen.map((sample) => {
      const key = sample.run + "/" + sample.round;
      seen[key] = (seen[key] || 0) + 1;
      return [sample, seen[key] + (sample.method === "none" ? 3 : 0)];
    }));
    if (filters.every(({ select }) => select.value === "")) chosen.sort((a, b) => place.get(a) - place.get(b) || b.round - a.round);
    list.replaceChildren();
    shown = 0;
    count.textContent = chosen.length + " of " + data.samples.length + " examples";
    next();
  };

  for (const { key, select } of filters) {
    const values = [...new Set(data.samples.map((sample) => sample[key]))];
    values.sort((a, b) => typeof a === "number" ? a - b : String(a).localeCompare(String(b)));
    for (const value of values) select.append(element("option", { value }, label(key, value)));
    select.addEventListener("change", update);
  }
  document.getElementById("shade").addEventListener("change", (event) => list.classList.toggle("shade", event.target.checked));
  more.addEventListener("click", next);

  const tip = element("div", { id: "tip", role: "tooltip", hidden: "" });
  document.body.append(tip);
  const show = (event) => {
    const span = event.target.closest && event.target.closest(".t[data-note]");
    tip.hidden = !span;
    if (!span) return;
    tip.textContent = span.dataset.note;
    const box = span.getClientRects()[0];
    tip.style.left = Math.max(4, Math.min(box.left, document.documentElement.clientWidth - tip.offsetWidth - 8)) + scrollX + "px";
    tip.style.top = box.bottom + scrollY + 5 + "px";
  };
  for (const kind of ["mouseover", "focusin", "click"]) list.addEventListener(kind, show);
  for (const kind of ["mouseleave", "focusout"]) list.addEventListener(kind, () => { tip.hidden = true; });
  update();
})();
