// What HTML and htmx can't do: the graph, the word that a page is old, and a call's Stop.
(() => {
  "use strict";
  const main = document.getElementById("main"), stale = document.getElementById("stale"), live = main.getAttribute("hx-sse:connect");
  let heard = Date.now();
  main.addEventListener("htmx:sse:error", () => { stale.hidden = false; });
  main.addEventListener("htmx:sse:after:message", () => { heard = Date.now(); stale.hidden = true; });
  // A server says something every five seconds. The extension connects again what broke, but not what never came about.
  document.addEventListener("visibilitychange", () => { heard = Date.now(); });
  if (live) setInterval(() => {
    if (document.hidden || Date.now() - heard < 12000) return;
    stale.hidden = false;
    if (!main._htmx?.sse) htmx.ajax("GET", live, { source: main });
  }, 2000);

  document.addEventListener("click", (event) => {
    if (event.target.closest("[data-stop]")) {
      htmx.trigger(document.getElementById("try"), "htmx:abort");
      document.getElementById("verdict").textContent = "Stopped: the call was cancelled.";
    }
  });
  document.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) event.target.closest("form.try")?.requestSubmit();
  });

  const box = document.getElementById("hour");
  if (!box || !window.uPlot) return;
  const clock = (at) => new Date(at * 1000).toLocaleTimeString("en-GB", { hour: "2-digit", minute: "2-digit", timeZone: "UTC" });
  const paint = (name) => { const probe = document.createElement("i"); probe.className = "state " + name; box.append(probe); const found = getComputedStyle(probe).color; probe.remove(); return found; };
  let plot;
  const draw = () => {
    const ink = paint("off"), data = JSON.parse(box.dataset.series);
    const axis = { stroke: ink, grid: { stroke: paint("line"), width: 1 }, ticks: { show: false }, font: "12px system-ui" };
    box.replaceChildren();
    plot = new uPlot({
      width: box.clientWidth, height: 160, cursor: { y: false },
      series: [
        { label: "at", value: (_, at) => at == null ? "" : clock(at) },
        { label: "calls/s", stroke: paint("busy"), width: 1.5, points: { show: false } },
        { label: "failed/s", stroke: paint("bad"), width: 1.5, points: { show: false } },
        { label: "p50 ms", scale: "ms", stroke: paint("off"), width: 1, points: { show: false } },
        { label: "p99 ms", scale: "ms", stroke: paint("warn"), width: 1, dash: [4, 3], points: { show: false } },
      ],
      scales: { y: { range: (_, low, high) => [0, Math.max(high || 0, 0.1) * 1.1] }, ms: { range: (_, low, high) => [0, Math.max(high || 0, 1) * 1.1] } },
      axes: [
        { ...axis, size: 30, values: (_, all) => all.map(clock) },
        { ...axis, size: 46 },
        { ...axis, side: 1, scale: "ms", size: 64, grid: { show: false }, values: (_, all) => all.map((each) => each >= 1000 ? each / 1000 + " s" : each + " ms") },
      ],
    }, data, box);
  };
  draw();
  new MutationObserver(() => plot.setData(JSON.parse(box.dataset.series))).observe(box, { attributeFilter: ["data-series"] });
  new ResizeObserver(() => plot.setSize({ width: box.clientWidth, height: 160 })).observe(box);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
})();
