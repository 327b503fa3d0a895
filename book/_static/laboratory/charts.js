// Drawings of the laboratory, on canvases that follow the page's theme.
"use strict";

const charts = (() => {
  const MARGIN = {left: 54, right: 10, top: 10, bottom: 34};

  function colours(canvas) {
    const style = getComputedStyle(canvas);
    const of = name => style.getPropertyValue(`--lab-${name}`).trim();
    return {ink: of("ink"), faint: of("faint"), now: of("now"), before: of("before"), truth: of("truth")};
  }

  // An empty chart with axes; x and y are functions from data to pixels
  function axes(canvas, {x, y, xLabel, yLabel, xTicks, yTicks}) {
    const ratio = window.devicePixelRatio || 1, width = canvas.clientWidth, height = canvas.clientHeight;
    if (canvas.width !== Math.round(width * ratio)) canvas.width = Math.round(width * ratio);
    if (canvas.height !== Math.round(height * ratio)) canvas.height = Math.round(height * ratio);
    const pen = canvas.getContext("2d"), ink = colours(canvas);
    pen.setTransform(ratio, 0, 0, ratio, 0, 0);
    pen.clearRect(0, 0, width, height);
    const box = {left: MARGIN.left, right: width - MARGIN.right, top: MARGIN.top, bottom: height - MARGIN.bottom};
    const along = ([low, high], from, to, log) => value => {
      const [a, b, v] = log ? [low, high, value].map(Math.log10) : [low, high, value];
      return from + ((v - a) / (b - a)) * (to - from);
    };
    const X = along(x.range, box.left, box.right, x.log), Y = along(y.range, box.bottom, box.top, y.log);
    pen.font = "12px system-ui, sans-serif";
    pen.lineWidth = 1;
    pen.fillStyle = ink.ink;
    pen.strokeStyle = ink.faint;
    pen.textAlign = "center";
    for (const tick of xTicks) {
      line(pen, [[X(tick), box.top], [X(tick), box.bottom]]);
      pen.fillText(label(tick), X(tick), box.bottom + 14);
    }
    pen.fillText(xLabel, (box.left + box.right) / 2, height - 4);
    pen.textAlign = "right";
    for (const tick of yTicks) {
      line(pen, [[box.left, Y(tick)], [box.right, Y(tick)]]);
      pen.fillText(label(tick), box.left - 4, Y(tick) + 4);
    }
    pen.save();
    pen.translate(10, (box.top + box.bottom) / 2);
    pen.rotate(-Math.PI / 2);
    pen.textAlign = "center";
    pen.fillText(yLabel, 0, 0);
    pen.restore();
    return {pen, ink, box, X, Y};
  }

  function label(value) {
    if (value === 0) return "0";
    const power = Math.log10(value), superscripts = "⁰¹²³⁴⁵⁶⁷⁸⁹";
    if (power > -2 && power < 5) return value >= 10000 ? `${value / 1000}k` : String(Number(value.toPrecision(2)));
    const digits = String(Math.abs(Math.round(power))).replace(/\d/g, digit => superscripts[digit]);
    return `10${power < 0 ? "⁻" : ""}${digits}`;
  }

  function line(pen, points) {
    pen.beginPath();
    points.forEach(([x, y], k) => (k ? pen.lineTo(x, y) : pen.moveTo(x, y)));
    pen.stroke();
  }

  const decades = (low, high, every) => {
    const out = [];
    for (let power = Math.ceil(Math.log10(low)); power <= Math.log10(high) + 1e-9; power++)
      if (power % every === 0) out.push(10 ** power);
    return out;
  };

  // Residual and error over iterations; the run before in the background
  function progress(canvas, history, before, hasTruth) {
    const longest = Math.max(100, history.at(-1)?.iteration ?? 0, before?.at(-1)?.iteration ?? 0);
    const low = 1e-12, high = 10;
    const nice = 10 ** Math.floor(Math.log10(longest / 2)), tick = longest / nice > 6 ? 2 * nice : nice;
    const xTicks = Array.from({length: Math.floor(longest / tick) + 1}, (_, k) => k * tick);
    const {pen, ink, X, Y} = axes(canvas, {
      x: {range: [0, longest]}, y: {range: [low, high], log: true}, xTicks: xTicks.slice(0, 8),
      yTicks: decades(low, high, 3), xLabel: "iteration", yLabel: "relative",
    });
    const draw = (rows, name, colour, dash) => {
      pen.strokeStyle = colour;
      pen.lineWidth = 2;
      pen.setLineDash(dash);
      const kept = rows.filter(row => Number.isFinite(row[name]));
      line(pen, kept.map(row => [X(row.iteration), Y(Math.min(high, Math.max(low, row[name])))]));
      pen.setLineDash([]);
    };
    for (const [rows, colour] of [[before ?? [], ink.before], [history, ink.now]]) {
      draw(rows, "residual", colour, []);
      if (hasTruth) draw(rows, "error", colour, [6, 4]);
    }
  }

  // Singular values, of the first one; of the run before and of the truth
  function spectrum(canvas, values, before, truth) {
    const count = Math.max(values.length, 2), low = 1e-18, high = 10;
    const xTicks = Array.from({length: count}, (_, k) => k + 1).filter(k => count < 13 || k === 1 || k % 5 === 0);
    const {pen, ink, X, Y} = axes(canvas, {
      x: {range: [0.3, count + 0.7]}, y: {range: [low, high], log: true}, xTicks, yTicks: decades(low, high, 3),
      xLabel: "number", yLabel: "singular value",
    });
    const dots = (list, colour, radius, filled) => {
      pen.strokeStyle = pen.fillStyle = colour;
      pen.lineWidth = 1.5;
      Array.from(list).forEach((value, k) => {
        if (!Number.isFinite(value)) return;
        pen.beginPath();
        pen.arc(X(k + 1), Y(Math.min(high, Math.max(low, value))), radius, 0, 2 * Math.PI);
        if (filled) pen.fill(); else pen.stroke();
      });
    };
    if (truth) dots(truth, ink.truth, 7, false);
    if (before) dots(before, ink.before, 4, false);
    dots(values, ink.now, 3.5, true);
  }

  // What each column adds to X: bars that fall away as columns die
  function columns(canvas, values) {
    const low = 1e-18, high = 10, count = values?.length ?? 1;
    const {pen, ink, box, X, Y} = axes(canvas, {
      x: {range: [0.3, count + 0.7]}, y: {range: [low, high], log: true},
      xTicks: count < 13 ? Array.from({length: count}, (_, k) => k + 1) : [1, 10, 20, 30, 40, 50, 60].filter(k => k <= count),
      yTicks: decades(low, high, 3), xLabel: "column", yLabel: "size of column",
    });
    if (!values) {
      pen.fillStyle = ink.ink;
      pen.textAlign = "center";
      pen.fillText("a product of full factors has no columns to lose", (box.left + box.right) / 2, (box.top + box.bottom) / 2);
      return;
    }
    const width = Math.max(2, (0.7 * (box.right - box.left)) / (count + 0.4));
    Array.from(values).forEach((value, k) => {
      const dead = !(value > 1e-8);
      pen.fillStyle = pen.strokeStyle = dead ? ink.before : ink.now;
      const top = Y(Math.min(high, Math.max(low, value || low)));
      pen.fillRect(X(k + 1) - width / 2, top, width, Math.max(box.bottom - top, 2));
    });
  }

  // Strength against D0 over radius, the two borders, and where the reader stands
  function atlas(canvas, {rank, kappa, delta, shrunk, usable}) {
    const x = {range: [0.5, 100], log: true}, y = {range: [0.05, 20], log: true};
    const {pen, ink, box, X, Y} = axes(canvas, {
      x, y, xTicks: [1, 3, 10, 30, 100], yTicks: [0.1, 0.3, 1, 3, 10], xLabel: "strength κ", yLabel: "D₀/α",
    });
    pen.save();
    pen.beginPath();
    pen.rect(box.left, box.top, box.right - box.left, box.bottom - box.top);
    pen.clip();
    pen.strokeStyle = pen.fillStyle = ink.ink;
    pen.lineWidth = 2;
    const grid = Array.from({length: 200}, (_, k) => 0.5 * 200 ** (k / 199));
    line(pen, grid.filter(s => s * s > shrunk).map(s => [X(s), Y(Math.max(1e-3, Math.sqrt((s * s - shrunk) / rank)))]));
    pen.setLineDash([2, 4]);
    line(pen, grid.map(s => [X(s), Y(s / Math.sqrt(rank))]));
    pen.setLineDash([]);
    pen.textAlign = "left";
    pen.fillText("lazy", X(0.6), Y(7));
    pen.fillText("tail stays", X(0.6), Y(0.09));
    pen.fillText("low rank", X(7), Y(0.09));
    pen.fillText("slow", X(50), Y(0.09));
    pen.restore();
    if (!usable) return;
    const inside = (value, [low, high]) => Math.min(high, Math.max(low, value));
    pen.fillStyle = ink.now;
    pen.beginPath();
    pen.arc(X(inside(kappa, x.range)), Y(inside(delta, y.range)), 7, 0, 2 * Math.PI);
    pen.fill();
  }

  return {progress, spectrum, columns, atlas};
})();
