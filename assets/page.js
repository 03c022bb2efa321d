// What the pages do: colours, menu, folds, stations, questions, search, copying code, and where the reader is. Without scripts the buttons are
// gone, the list of pages stands below the text, and all but search works.
// A plain script, not a module: a page opened as a file may load no modules.

const page = document.documentElement;

// Light and dark: the system's choice until the reader makes one.
const colours = document.querySelector(".colour-button");
const isDark = () => getComputedStyle(page).colorScheme === "dark"
  || (!page.dataset.colours && matchMedia("(prefers-color-scheme: dark)").matches);
const showColours = () => colours.setAttribute("aria-pressed", String(isDark()));
colours.addEventListener("click", () => {
  page.dataset.colours = isDark() ? "light" : "dark";
  try { localStorage.setItem("cnncourse-colours", page.dataset.colours); } catch { /* the choice holds for this page */ }
  showColours();
});
showColours();

// The list of pages on a small screen.
const menu = document.querySelector(".menu-button");
const setMenu = (open) => {
  menu.setAttribute("aria-expanded", String(open));
  document.body.classList.toggle("menu-open", open);
};
menu.addEventListener("click", () => setMenu(menu.getAttribute("aria-expanded") !== "true"));
document.addEventListener("keydown", (event) => {
  if (event.key === "Escape" && document.body.classList.contains("menu-open")) { setMenu(false); menu.focus(); }
});
const side = document.querySelector(".side");
const here = side.querySelector("[aria-current]");
if (here) side.scrollTop = here.offsetTop - side.clientHeight / 2;

// What a browser keeps for its reader. Where it keeps nothing, a choice holds for this page.
const recall = (name, other) => { try { return JSON.parse(localStorage.getItem(`cnncourse-${name}`)) ?? other; } catch { return other; } };
const keep = (name, value) => { try { localStorage.setItem(`cnncourse-${name}`, JSON.stringify(value)); } catch { /* not kept */ } };

// An old address of a place that is on a station now: the week's page knows which.
const places = JSON.parse(document.getElementById("places")?.textContent ?? "{}");
const goOn = () => {
  const anchor = decodeURIComponent(location.hash.slice(1));
  const there = anchor && !document.getElementById(anchor) && Object.keys(places).find((place) => places[place].includes(anchor));
  if (there) location.replace(new URL(`${there}${location.hash}`, location.href));
};
goOn();
addEventListener("hashchange", goOn);

// Folds: one switch for all code, remembered; and a link to a place in a fold, or to the name that a fold explains, opens it.
const folds = [...document.querySelectorAll("main details.code-fold")];
const codeButton = document.querySelector(".code-button");
const showCode = (all) => {
  codeButton.setAttribute("aria-pressed", String(all));
  for (const fold of folds) fold.open = all;
};
const openTarget = () => {
  const target = location.hash && document.getElementById(decodeURIComponent(location.hash.slice(1)));
  if (!target) return;
  const inside = target.closest(".exported")?.querySelector("details.code-fold");
  for (let fold = inside ?? target.closest("details"); fold; fold = fold.parentElement.closest("details")) fold.open = true;
  target.scrollIntoView();
};
if (codeButton) {
  codeButton.addEventListener("click", () => {
    const top = document.elementFromPoint(innerWidth / 2, innerHeight / 3), before = top?.getBoundingClientRect().top;
    showCode(codeButton.getAttribute("aria-pressed") !== "true");
    keep("code", codeButton.getAttribute("aria-pressed") === "true");
    if (top) scrollBy({ top: top.getBoundingClientRect().top - before, behavior: "instant" }); // what one reads stays where it is
  });
  if (recall("code", false)) showCode(true);
}
openTarget();
addEventListener("hashchange", openTarget);

// Stations that were read.
const readButton = document.querySelector("button.read");
const showRead = () => {
  const read = recall("read", []);
  for (const item of document.querySelectorAll("li[data-station]")) {
    const done = read.includes(item.dataset.station);
    item.classList.toggle("done", done);
    item.querySelector(".done-said")?.remove();
    if (done) item.querySelector("a").append(Object.assign(document.createElement("span"), { className: "done-said unseen", textContent: ", read" }));
  }
  if (!readButton) return;
  const done = read.includes(readButton.dataset.station);
  readButton.setAttribute("aria-pressed", String(done));
  readButton.textContent = done ? "Read" : "Mark as read";
};
readButton?.addEventListener("click", () => {
  const name = readButton.dataset.station, read = recall("read", []);
  keep("read", read.includes(name) ? read.filter((other) => other !== name) : [...read, name]);
  showRead();
});
showRead();
addEventListener("storage", showRead);

// Questions: the reader's own answer first. Without scripts the answer opens by itself.
const isRight = (said, { answer, tolerance }) => {
  if (said === answer) return true;
  const [given, wanted] = [said.trim().replace(",", "."), answer].map(Number);
  return said.trim() !== "" && Math.abs(given - wanted) <= Number(tolerance) + 1e-9 * Math.abs(wanted);
};
for (const [i, ask] of document.querySelectorAll(".ask").entries()) {
  const text = ask.querySelector(".ask-text"), answer = ask.querySelector("details"), options = ask.querySelector(".ask-options");
  const form = document.createElement("form"), said = document.createElement("p");
  text.id = `ask-${i}`;
  said.setAttribute("role", "status");
  if (options) {
    const group = document.createElement("fieldset");
    group.setAttribute("aria-labelledby", text.id);
    for (const option of options.children) {
      const choice = Object.assign(document.createElement("input"), { type: "radio", name: text.id, value: option.textContent, required: true });
      const label = document.createElement("label");
      label.append(choice, option.textContent);
      group.append(label);
    }
    options.remove();
    form.append(group);
  } else {
    const field = Object.assign(document.createElement("input"), { type: "text", inputMode: "decimal", name: text.id, autocomplete: "off", required: true });
    field.setAttribute("aria-labelledby", text.id);
    form.append(field);
  }
  form.append(Object.assign(document.createElement("button"), { textContent: "Check" }), said);
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    const right = isRight(String(new FormData(form).get(text.id)), ask.dataset);
    ask.classList.toggle("right", right);
    ask.classList.toggle("wrong", !right);
    said.textContent = right ? "Right." : "Not that. Try again, or open the answer.";
    if (right) answer.open = true;
  });
  answer.before(form);
}

// A command to copy.
for (const command of document.querySelectorAll("code[data-copy]")) {
  const button = Object.assign(document.createElement("button"), { type: "button", className: "copy-command", textContent: "Copy" });
  button.setAttribute("aria-label", `Copy ${command.textContent}`);
  button.addEventListener("click", async () => {
    await navigator.clipboard.writeText(command.textContent);
    button.textContent = "Copied";
    setTimeout(() => { button.textContent = "Copy"; }, 1500);
  });
  command.after(button);
}

// Search: Pagefind's index, fetched when first asked for, in an order of our own. A page whose headings hold the words comes first, the lessons
// come before the library, and a word of the glossary leads to its row.
const dialog = document.querySelector("dialog.search");
const searchButton = document.querySelector(".search-button");
const query = dialog.querySelector("input");
const found = dialog.querySelector(".found");
const results = dialog.querySelector(".results");
const kinds = { lesson: 1, about: 0.7, library: 0.25 };
const small = new Set(("a an and are as at be by can do does for from how i in into is it its many me much my of on or s than that the "
  + "this to versus vs what when where which why will with you").split(" "));
const wordsIn = (text) => text.normalize("NFC").toLowerCase().match(/[\p{L}\p{N}×]+/gu) ?? [];
const holds = (text, words) => {
  const said = wordsIn(text);
  return words.every((word) => said.some((other) => other.startsWith(word.replace(/(?<=...)s$/, ""))));
};

// A word of the glossary, in whatever spelling, and the place in the lessons that teaches it. The glossary's own page says it, in its rows.
const otherwise = { backpropagation: "backward pass", backprop: "backward pass", "back propagation": "backward pass", overfit: "overfitting" };
const term = (text) => {
  const said = wordsIn(text.replace(/(\d)x(?=\d)/g, "$1×")).map((word) => word.replace(/iz(?=[aei])/g, "is").replace(/color/g, "colour").replace(/(?<=...)s$/, ""));
  const other = otherwise[said.join(" ")];
  return other ? term(other) : said.join(" ");
};
const loadTerms = async () => {
  const terms = new Map(), address = searchButton.dataset.words && new URL(searchButton.dataset.words, document.baseURI);
  if (!address) return terms;
  const words = new DOMParser().parseFromString(await (await fetch(address)).text(), "text/html");
  for (const row of words.querySelectorAll("tr[id]")) {
    const link = row.querySelector("td:last-child a[href]"), cells = [...row.cells].map((cell) => cell.textContent.trim());
    if (!link) continue;
    const [english, korean, also, meaning] = cells, place = { title: english, url: new URL(link.getAttribute("href"), address).href, said: meaning };
    for (const name of [english, ...`${korean},${also}`.split(",")]) if (name.trim()) terms.set(term(name), place);
  }
  return terms;
};

// The pages with every word or, where no page has them all, with as many as can be; of each its score and how to load it.
const pagesWith = async (index, words) => {
  const pages = new Map();
  const add = async (text) => {
    for (const [kind, weight] of Object.entries(kinds)) {
      for (const hit of (await index.search(text, { filters: { kind } })).results) {
        pages.set(hit.id, { hit, kind, score: (pages.get(hit.id)?.score ?? 0) + hit.score * weight });
      }
    }
  };
  await add(words.join(" "));
  if (!pages.size && words.length > 1) for (const word of words) await add(word);
  return [...pages.values()].sort((a, b) => b.score - a.score).slice(0, 16);
};

// Rows of a table that have an address of their own, such as the words of the glossary, and that hold the words.
const rowsWith = (data, words) => {
  const text = data.raw_content.split(/\s+/);
  return data.anchors.flatMap((anchor, i) => {
    const [title, ...rest] = text.slice(anchor.location, data.anchors[i + 1]?.location).join(" ").split(/\. /);
    if (anchor.element !== "tr" || !holds([title, ...rest].join(" "), words)) return [];
    return [{ title, url: `${data.url}#${anchor.id}`, said: rest.join(" · "), named: holds(title, words) || holds(rest[0] ?? "", words) }];
  });
};

// The best places of a page, and how good the page is with what its headings say.
const weigh = async ({ hit, kind, score }, words, phrase) => {
  const data = await hit.data();
  const rows = rowsWith(data, words).sort((a, b) => b.named - a.named || a.title.length - b.title.length);
  const headed = data.sub_results.filter((place) => place.anchor && holds(place.title, words));
  const others = data.sub_results.filter((place) => !headed.includes(place)).sort((a, b) => b.locations.length - a.locations.length);
  const whole = phrase.includes(" ") && ` ${wordsIn(data.content).join(" ")} `.includes(` ${phrase} `) && kind !== "library";
  const merit = (whole ? 4 : 1) * (holds(data.meta.title, words) ? 4 : 1) * (headed.length && kind !== "library" ? 2.5 : 1) * (rows[0]?.named ? 2 : 1);
  const places = rows.length ? rows.slice(0, 4) : [...headed, ...others].slice(0, 3);
  const found = places.length ? places : [{ title: data.meta.title, url: data.url, excerpt: data.excerpt }];
  return { kind, title: data.meta.title, address: new URL(data.url, location.href).pathname, score: score * merit, places: found };
};

const element = (name, properties, ...inside) => {
  const made = Object.assign(document.createElement(name), properties);
  made.append(...inside);
  return made;
};
const shown = ({ kind, title, places }) => element("li", {},
  element("p", { className: "page" }, title, ...(kind === "library" ? [" (library)"] : [])),
  ...places.flatMap((place) => [
    element("a", { href: place.url, textContent: place.title }),
    element("p", { className: "excerpt", ...(place.excerpt ? { innerHTML: place.excerpt } : { textContent: place.said }) }),
  ]));

// The place that teaches a word comes before all others.
const taught = (place, pages) => {
  const address = new URL(place.url).pathname, page = pages.find((other) => other.address === address);
  const rest = page?.places.filter((other) => other.title !== place.title).slice(0, 2) ?? [];
  const first = { kind: "lesson", title: page?.title ?? "Where it is taught", places: [place, ...rest] };
  return [first, ...pages.filter((other) => other !== page)];
};

let index;
const loadIndex = async () => {
  if (location.protocol === "file:") throw new Error("a page opened as a file cannot read the index");
  const pagefind = await import(new URL(`${searchButton.dataset.bundle}pagefind.js`, document.baseURI));
  await pagefind.init();
  return { pagefind, terms: await loadTerms() };
};
const search = async () => {
  const asked = query.value.trim();
  const all = wordsIn(asked), words = all.filter((word) => !small.has(word));
  let pages = [];
  if (all.length) {
    const wanted = words.length ? words : all;
    const { pagefind, terms } = await index, place = terms.get(term(asked)) ?? terms.get(term(wanted.join(" ")));
    pages = await Promise.all((await pagesWith(pagefind, wanted)).map((page) => weigh(page, wanted, all.join(" "))));
    pages.sort((a, b) => b.score - a.score);
    pages = (place ? taught(place, pages) : pages).slice(0, 8);
  }
  if (asked !== query.value.trim()) return; // the reader has typed on
  results.replaceChildren(...pages.map(shown));
  found.textContent = !asked ? "" : pages.length === 1 ? "1 page" : `${pages.length || "No"} pages`;
};
const openSearch = async () => {
  dialog.showModal();
  query.select();
  try {
    await (index ??= loadIndex());
    await search();
  } catch {
    found.textContent = "Search needs the site to be served: run cnncourse site --serve.";
  }
};
searchButton.addEventListener("click", openSearch);
let wait;
query.addEventListener("input", () => { clearTimeout(wait); wait = setTimeout(search, 120); });
dialog.addEventListener("submit", (event) => { event.preventDefault(); results.querySelector("a")?.click(); });
dialog.addEventListener("click", (event) => {
  if (event.target === dialog || event.target.closest("a, .close")) dialog.close();
});
document.addEventListener("keydown", (event) => {
  const typing = event.target.closest("input, textarea, select, [contenteditable]");
  const wanted = (event.key === "/" && !typing) || (event.key === "k" && (event.ctrlKey || event.metaKey));
  if (wanted && !dialog.open) { event.preventDefault(); openSearch(); }
});
dialog.addEventListener("keydown", (event) => {
  if (event.key === "Escape") { event.preventDefault(); dialog.close(); } // at once: a search field would only be emptied
  if (event.key !== "ArrowDown" && event.key !== "ArrowUp") return;
  const stops = [query, ...results.querySelectorAll("a")];
  const next = stops[stops.indexOf(document.activeElement) + (event.key === "ArrowDown" ? 1 : -1)];
  if (next) { event.preventDefault(); next.focus(); }
});

// A button that copies a cell's code.
for (const code of document.querySelectorAll("div.sourceCode")) {
  const button = Object.assign(document.createElement("button"), { type: "button", className: "copy", textContent: "Copy" });
  button.addEventListener("click", async () => {
    await navigator.clipboard.writeText(code.querySelector("code").textContent);
    button.textContent = "Copied";
    setTimeout(() => { button.textContent = "Copy"; }, 1500);
  });
  code.append(button);
}

// The table of all claims, by week and by verdict.
const claims = [...document.querySelectorAll("main table")].find((table) => table.tHead?.rows[0].cells[0].textContent.trim() === "Claim");
if (claims) {
  const rows = [...claims.tBodies[0].rows], form = document.createElement("form"), shown = document.createElement("output");
  const parts = {
    Week: (row) => row.cells[0].textContent.trim().slice(1).split(".")[0],
    Verdict: (row) => row.cells[3].querySelector("strong")?.textContent ?? "Not decided yet",
  };
  const choose = () => {
    for (const row of rows) row.hidden = Object.entries(parts).some(([name, of]) => form.elements[name].value && form.elements[name].value !== of(row));
    shown.textContent = `${rows.filter((row) => !row.hidden).length} of ${rows.length} claims`;
  };
  for (const [name, of] of Object.entries(parts)) {
    const label = Object.assign(document.createElement("label"), { textContent: `${name} ` });
    const field = Object.assign(document.createElement("select"), { name });
    field.append(new Option("all", ""), ...[...new Set(rows.map(of))].map((value) => new Option(value, value)));
    label.append(field);
    form.append(label);
  }
  form.className = "choose";
  form.append(shown);
  form.addEventListener("change", choose);
  choose();
  claims.before(form);
}

// What scrolls sideways must be within reach of the keyboard, and what does not scroll need not be.
const scrollers = document.querySelectorAll('main :is(pre, .cell-output-display, .table-box, p:has(> math[display="block"]))');
const reach = () => {
  for (const box of scrollers) {
    if (box.scrollWidth > box.clientWidth) box.tabIndex = 0;
    else box.removeAttribute("tabindex");
  }
};
reach();
addEventListener("resize", reach);
document.addEventListener("toggle", reach, true);

// The heading the reader is at, in the list of the page's contents.
const links = new Map([...document.querySelectorAll(".toc a")].map((link) => [decodeURIComponent(link.hash.slice(1)), link]));
const headings = [...links.keys()].map((id) => document.getElementById(id)).filter(Boolean);
const list = document.querySelector("details.contents");
const markHeading = () => {
  const passed = headings.filter((heading) => heading.getBoundingClientRect().top < 120).at(-1);
  for (const link of links.values()) link.removeAttribute("aria-current");
  if (!passed) return;
  const link = links.get(passed.id);
  link.setAttribute("aria-current", "location");
  if (list.scrollHeight > list.clientHeight) list.scrollTop = link.offsetTop - list.clientHeight / 2;
};
addEventListener("scroll", () => requestAnimationFrame(markHeading), { passive: true });
markHeading();
