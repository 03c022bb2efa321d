for (const box of document.querySelectorAll(".cnn-player:not([data-ready])")) {
  box.dataset.ready = "yes";
  const steps = JSON.parse(box.dataset.steps), find = name => box.querySelector(name);
  const slider = find("input"), play = find(".play"), said = find(".said"), image = find("img");
  const out = box.querySelectorAll(".output td");
  const cell = (r, c) => find(".input").rows[r].cells[c];
  let timer = null;
  const showTaps = k => {
    box.querySelectorAll(".input td").forEach(td => { td.className = ""; td.querySelector("sub").textContent = ""; });
    steps[k].taps.forEach(([r, c, w]) => {
      cell(r, c).className = "on";
      cell(r, c).querySelector("sub").textContent = "\u00d7" + String(w).replace("-", "\u2212");
    });
    out.forEach((td, i) => { td.className = i < k ? "" : i == k ? "now" : "later"; });
  };
  const show = k => {
    slider.value = k;
    slider.setAttribute("aria-valuetext", "step " + (k + 1) + " of " + steps.length);
    if (image) image.src = steps[k].frame; else showTaps(k);
    said.textContent = steps[k].text;
  };
  const stop = () => { clearInterval(timer); timer = null; play.textContent = "Play"; said.setAttribute("aria-live", "polite"); };
  const go = k => { stop(); show((k + steps.length) % steps.length); };
  const tick = () => { if (!box.isConnected || +slider.value == steps.length - 1) stop(); else show(+slider.value + 1); };
  play.onclick = () => {
    if (timer) return stop();
    if (+slider.value == steps.length - 1) show(0);
    said.setAttribute("aria-live", "off");
    play.textContent = "Pause";
    timer = setInterval(tick, 1000 * box.dataset.seconds);
  };
  find(".back").onclick = () => go(+slider.value - 1);
  find(".next").onclick = () => go(+slider.value + 1);
  slider.oninput = () => go(+slider.value);
  const own = /^(Arrow|Page|Home$|End$|Enter$| $)/; // keys that move the player: JupyterLab would move to another cell with them
  box.onkeydown = event => {
    if (own.test(event.key) && !event.ctrlKey && !event.metaKey && !event.shiftKey && !event.altKey) event.stopPropagation();
    const turn = {ArrowLeft: -1, ArrowRight: 1}[event.key];
    if (turn && event.target != slider) { go(+slider.value + turn); event.preventDefault(); }
  };
  find(".controls").hidden = false;
  show(0);
}
