// What the pandoc-built pages do: colours, menu, search, copying code, and where the reader is. Every page works without it, search aside.
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

// Search: Pagefind's own box in a dialog, fetched when first asked for.
const dialog = document.querySelector("dialog.search");
const searchButton = document.querySelector(".search-button");
const bundle = searchButton.dataset.bundle;
let search;
const loadSearch = () => new Promise((resolve, reject) => {
  const style = Object.assign(document.createElement("link"), { rel: "stylesheet", href: `${bundle}pagefind-ui.css` });
  const script = Object.assign(document.createElement("script"), { src: `${bundle}pagefind-ui.js`, onload: resolve, onerror: reject });
  document.head.append(style, script);
}).then(() => new window.PagefindUI({ element: "#search", showSubResults: true, showImages: false, resetStyles: false }));
const openSearch = async () => {
  dialog.showModal();
  try {
    if (location.protocol === "file:") throw new Error("a page opened as a file cannot read the index");
    await (search ??= loadSearch());
    dialog.querySelector("input").focus();
  } catch {
    document.getElementById("search").textContent = "Search needs the site to be served: run cnncourse site --serve.";
  }
};
searchButton.addEventListener("click", openSearch);
dialog.addEventListener("click", (event) => {
  if (event.target === dialog || event.target.closest("a")) dialog.close();
});
document.addEventListener("keydown", (event) => {
  const typing = event.target.closest("input, textarea, select, [contenteditable]");
  const wanted = (event.key === "/" && !typing) || (event.key === "k" && (event.ctrlKey || event.metaKey));
  if (wanted && !dialog.open) { event.preventDefault(); openSearch(); }
});
dialog.addEventListener("keydown", (event) => {
  if (event.key !== "ArrowDown" && event.key !== "ArrowUp") return;
  const stops = [...dialog.querySelectorAll("input, a.pagefind-ui__result-link")];
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

// What scrolls sideways must be within reach of the keyboard.
for (const box of document.querySelectorAll("pre, .cell-output-display")) {
  if (box.scrollWidth > box.clientWidth) box.tabIndex = 0;
}

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
