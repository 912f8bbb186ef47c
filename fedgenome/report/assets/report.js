"use strict";
(() => {
  const dark = window.matchMedia("(prefers-color-scheme: dark)");
  const narrow = window.matchMedia("(max-width: 46rem)");
  const fine = window.matchMedia("(pointer: fine)");
  const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

  // Figures name colours as CSS variables ("--c0"), so that they follow the reader's scheme.
  const resolve = (value) => {
    if (typeof value === "string" && value.startsWith("--")) return colour(value);
    if (Array.isArray(value)) return value.map(resolve);
    if (value && typeof value === "object") {
      return Object.fromEntries(Object.entries(value).map(([key, inner]) => [key, resolve(inner)]));
    }
    return value;
  };
  const axis = (own) => ({
    gridcolor: colour("--line"), linecolor: colour("--line"), zerolinecolor: colour("--line"), automargin: true, ...own,
  });
  const layout = (own) => ({
    paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)",
    font: { color: colour("--ink"), family: getComputedStyle(document.body).fontFamily, size: 13 },
    hoverlabel: { bgcolor: colour("--panel"), font: { color: colour("--ink") } },
    margin: { l: 56, r: 12, t: 12, b: 48 }, showlegend: false, dragmode: fine.matches ? "zoom" : false,
    legend: { orientation: "h", y: 1.02, yanchor: "bottom", x: 0, font: { size: narrow.matches ? 11 : 12 } },
    ...own, xaxis: axis(own.xaxis), yaxis: axis(own.yaxis),
  });
  const config = { responsive: true, displaylogo: false, displayModeBar: fine.matches ? "hover" : false, showTips: false };

  const draw = () => {
    for (const plot of document.querySelectorAll(".plot")) {
      const figure = resolve(JSON.parse(document.getElementById(plot.id + "-data").textContent));
      Plotly.react(plot, figure.data, layout(figure.layout), config);
    }
  };
  draw();
  dark.addEventListener("change", draw);
  narrow.addEventListener("change", draw);
})();
