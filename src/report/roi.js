// The calculator of the report; the same sums as src/plan/roi.c, with the figures that the page
// carries in data attributes. Without script the page shows the results for the default rates.
(function () {
  "use strict";
  var form = document.getElementById("roi-form");
  if (!form) { return; }
  var DAYS = 365;

  function number(text) { return text === "" || text === null ? NaN : Number(text); }
  function figure(model, what) {
    var d = form.dataset;
    return [number(d[model + what]), number(d[model + what + "Low"]), number(d[model + what + "High"])];
  }
  function scaled(v, k) { return [v[0] * k, v[1] * k, v[2] * k]; }
  function difference(a, b) {
    var d = a[0] - b[0];
    return [d, d - Math.hypot(a[0] - a[1], b[2] - b[0]), d + Math.hypot(a[2] - a[0], b[0] - b[1])];
  }
  function sum(a, b) { return [a[0] + b[0], a[1] + b[1], a[2] + b[2]]; }

  function year(energy, time, r) {
    var kwh = scaled(energy, r.requests * DAYS / 1000);
    return { kwh: kwh, cost: scaled(kwh, r.tariff), co2: scaled(kwh, r.carbon / 1000),
             hours: scaled(time, r.requests * DAYS / 3600) };
  }

  // Three significant digits, thousands apart by a narrow space: the same as roi_number() in C.
  function text(x) {
    if (!isFinite(x)) { return "-"; }
    var m = Math.abs(x);
    var t = x.toFixed(m >= 99.95 ? 0 : m >= 9.995 ? 1 : m >= 0.9995 ? 2 : m >= 0.09995 ? 3 : 4);
    var dot = t.indexOf(".");
    var whole = dot < 0 ? t : t.slice(0, dot), rest = dot < 0 ? "" : t.slice(dot);
    return (whole.replace(/\B(?=(\d{3})+$)/g, "\u202f") + rest).replace("-", "\u2212");
  }
  function show(key, v) {
    var cell = document.getElementById("roi-" + key);
    if (!cell) { return; }
    cell.querySelector("b").textContent = isFinite(v[0]) ? text(v[0]) : "unresolved";
    cell.querySelector(".ci").textContent =
      isFinite(v[0]) && isFinite(v[1]) && isFinite(v[2]) ? text(v[1]) + " \u2013 " + text(v[2]) : "";
  }
  function showYear(prefix, y) {
    ["kwh", "cost", "co2", "hours"].forEach(function (k) { show(prefix + "-" + k, y[k]); });
  }
  function rate(name) {
    var x = number(form.elements[name].value);
    return isFinite(x) && x >= 0 ? x : 0;
  }
  function update() {
    var r = { requests: rate("requests"), tariff: rate("tariff"), carbon: rate("carbon"), wage: rate("wage") };
    var currency = form.elements.currency.value;
    document.querySelectorAll(".roi-currency").forEach(function (e) { e.textContent = currency; });
    showYear("base", year(figure("base", "Wh"), figure("base", "S"), r));
    if (form.dataset.models !== "2") { return; }
    showYear("vs", year(figure("vs", "Wh"), figure("vs", "S"), r));
    var saved = year(difference(figure("base", "Wh"), figure("vs", "Wh")),
                     difference(figure("base", "S"), figure("vs", "S")), r);
    showYear("saved", saved);
    var value = scaled(saved.hours, r.wage);
    show("saved-value", value);
    show("saved-total", isNaN(saved.cost[0]) ? value : sum(saved.cost, value));
  }
  form.addEventListener("input", update);
  form.addEventListener("submit", function (e) { e.preventDefault(); });
  update();
}());
