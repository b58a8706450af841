"use strict";
document.documentElement.classList.add("live");
// Values under the pointer.
for (const chart of document.querySelectorAll(".chart")) {
  const data = JSON.parse(chart.dataset.chart), svg = chart.querySelector("svg"), out = chart.querySelector("output");
  const width = svg.viewBox.baseVal.width, height = svg.viewBox.baseVal.height;
  const count = Math.max(...data.values.map((values) => values.length));
  const cross = svg.appendChild(document.createElementNS(svg.namespaceURI, "line"));
  cross.setAttribute("class", "cross"); cross.setAttribute("y1", 10); cross.setAttribute("y2", height - 24); cross.style.display = "none";
  const leave = () => { chart.classList.remove("on"); cross.style.display = "none"; };
  chart.addEventListener("pointerleave", leave);
  chart.addEventListener("pointermove", (event) => {
    const box = svg.getBoundingClientRect(), [left, right] = data.x;
    const at = ((event.clientX - box.left) / box.width) * width;
    const step = Math.round(((at - left) / (right - left)) * Math.max(1, count - 1));
    if (step < 0 || step >= count) return leave();
    const x = left + (step / Math.max(1, count - 1)) * (right - left);
    cross.setAttribute("x1", x); cross.setAttribute("x2", x); cross.style.display = "";
    const lines = data.labels.map((label, i) => `${label} ${data.values[i][step] ?? "–"}`);
    out.textContent = [`step ${step}`, ...lines].join("\n");
    out.style.left = at > width / 2 ? "4px" : "auto"; out.style.right = at > width / 2 ? "auto" : "4px";
    chart.classList.add("on");
  });
}
// Held-out rows by what became of them.
for (const tabs of document.querySelectorAll(".tabs")) {
  tabs.addEventListener("click", (event) => {
    const chosen = event.target.closest("button");
    if (!chosen) return;
    for (const button of tabs.children) button.setAttribute("aria-pressed", button === chosen);
    for (const rest of document.querySelectorAll(".rest")) rest.open = true;
    for (const pair of document.querySelectorAll(".pair")) pair.hidden = chosen.dataset.show !== "" && pair.dataset.change !== chosen.dataset.show;
  });
}
// Training through time.
for (const slide of document.querySelectorAll(".slide")) {
  const input = slide.querySelector("input"), out = slide.querySelector("output");
  const moments = [...document.querySelectorAll(".moment")];
  const show = () => {
    moments.forEach((moment, i) => { moment.hidden = i !== Number(input.value); });
    out.textContent = moments[input.value].dataset.name;
  };
  slide.hidden = moments.length < 2;
  input.addEventListener("input", show);
  show();
}
