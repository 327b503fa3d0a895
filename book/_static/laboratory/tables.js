// Tables with holes, as pasted: read, completed by UDV, written out.
"use strict";

const tables = (() => {
  const HOLES = new Set(["", "na", "n/a", "nan", "null", "none", "?", "-", "."]);
  const LARGEST = {rows: 200, cols: 60};
  const HELD_OUT = 0.1;

  class TableError extends Error {}

  function cellsOf(text) {
    const lines = text.split(/\r?\n/).filter(line => line.trim());
    const separator = ["\t", ";", ","].find(mark => lines.some(line => line.includes(mark))) ?? ",";
    const rows = lines.map(line => fields(line, separator).map(field => field.trim()));
    return {rows, comma: separator === ";"};
  }

  // The fields of a line; quotes protect separators and other quotes
  function fields(line, separator) {
    const out = [""];
    let quoted = false;
    for (let k = 0; k < line.length; k++) {
      if (line[k] === '"' && quoted && line[k + 1] === '"') { out[out.length - 1] += '"'; k++; }
      else if (line[k] === '"') quoted = !quoted;
      else if (line[k] === separator && !quoted) out.push("");
      else out[out.length - 1] += line[k];
    }
    return out;
  }

  // {header, labels, values}: a value is a number, or null for a hole
  function parse(text) {
    const {rows, comma} = cellsOf(text);
    if (rows.length < 2) throw new TableError("A table has at least two lines. Paste one line for each row.");
    const number = cell => {
      if (HOLES.has(cell.toLowerCase())) return null;
      const value = Number(comma ? cell.replace(",", ".") : cell);
      return Number.isFinite(value) ? value : undefined;
    };
    const isText = cell => number(cell) === undefined;
    const header = rows[0].slice(1).some(isText) ? rows.shift() : null;
    const named = rows.filter(row => isText(row[0])).length > rows.length / 2;
    const labels = named ? rows.map(row => row.shift()) : null;
    const cols = Math.max(...rows.map(row => row.length));
    const values = rows.map((row, i) => Array.from({length: cols}, (_, j) => {
      const value = number(row[j] ?? "");
      if (value === undefined)
        throw new TableError(`Line ${i + 1 + (header ? 1 : 0)}, column ${j + 1 + (named ? 1 : 0)}: “${row[j]}” is no number. Leave a hole empty.`);
      return value;
    }));
    if (values.length > LARGEST.rows || cols > LARGEST.cols)
      throw new TableError(`At most ${LARGEST.rows} rows and ${LARGEST.cols} columns here; this table has ${values.length} and ${cols}. The library has no such limit.`);
    if (cols < 2) throw new TableError("A table has at least two columns, separated by commas, semicolons or tabs.");
    if (values.flat().filter(value => value !== null).length < values.length + cols)
      throw new TableError("There are too few numbers: at least as many as rows and columns together.");
    const names = header && header.slice(named ? header.length - cols : 0);
    return {header: names, labels, values, corner: header && named && header.length > cols ? header[0] : ""};
  }

  // Columns brought to mean 0 and spread 1, by the entries given
  function scales(entries, cols) {
    return Array.from({length: cols}, (_, j) => {
      const own = entries.filter(entry => entry[1] === j).map(entry => entry[2]);
      const mean = own.reduce((sum, value) => sum + value, 0) / (own.length || 1);
      const spread = Math.sqrt(own.reduce((sum, value) => sum + (value - mean) ** 2, 0) / (own.length || 1));
      return {mean, spread: spread || 1};
    });
  }

  // Singular values to expect: those of the entries over their share, above what random signs would give
  function expectedSpectrum(entries, rows, cols, rng) {
    const share = entries.length / (rows * cols);
    const top = sign => {
      const filled = new Float64Array(rows * cols);
      for (const [i, j, value] of entries) filled[i * cols + j] = (value * sign()) / share;
      return matrices.singularValues(filled, rows, cols);
    };
    const seen = top(() => 1);
    const edge = share < 1 ? top(() => (rng.uniform() < 0.5 ? -1 : 1))[0] * Math.sqrt(1 - share) : 0;
    const above = Array.from(seen).filter(value => value > edge);
    const kept = above.length ? above : [seen[0]];
    return kept.map(value => (value + Math.sqrt(Math.max(value ** 2 - edge ** 2, 0))) / 2);
  }

  // A run of UDV on entries [i, j, value]: what to step, and what it says of a cell
  function prepared(entries, rows, cols, {strength, seed}) {
    const scale = scales(entries, cols), rng = descent.random(seed);
    const scaled = entries.map(([i, j, value]) => [i, j, (value - scale[j].mean) / scale[j].spread]);
    const problem = descent.completion({rows, cols, entries: scaled, symmetric: false});
    const sigma = expectedSpectrum(scaled, rows, cols, rng);
    const alpha = descent.radiusFor(sigma, strength), radius = alpha * 2 ** (-1 / 6), dInit = alpha * 2 ** (1 / 3);
    const stepSize = 0.5 * 2 ** (2 / 3) * descent.largestStep(sigma, alpha, alpha, descent.density(problem));
    const settings = {rank: Math.min(rows, cols, 20), initScale: 0.1 * radius, dInit, radius, stepSize};
    const factors = descent.models.udv.start(problem, settings, rng);
    const cell = (X, i, j) => X[i * cols + j] * scale[j].spread + scale[j].mean;
    return {problem, settings, factors, cell, scale};
  }

  function run(ready, iterations) {
    for (let k = 0; k < iterations; k++) descent.models.udv.step(ready.problem, ready.factors, ready.settings);
  }

  // Entries in random order, so that a part of them can be held out
  function shuffled(entries, seed) {
    const rng = descent.random(seed), out = entries.slice();
    for (let i = out.length - 1; i > 0; i--) {
      const j = Math.floor(rng.uniform() * (i + 1));
      [out[i], out[j]] = [out[j], out[i]];
    }
    return out;
  }

  // One entry in ten is held out and guessed after more and more iterations, which says how long to run on all of them.
  function complete(table, {strength = 8.5, seed = 1, most = 3000} = {}) {
    const rows = table.values.length, cols = table.values[0].length;
    const entries = table.values.flatMap((row, i) => row.map((value, j) => [i, j, value])).filter(entry => entry[2] !== null);
    const order = shuffled(entries, seed), held = order.slice(0, Math.max(1, Math.round(HELD_OUT * entries.length)));
    const trial = prepared(order.slice(held.length), rows, cols, {strength, seed});
    const miss = guess => Math.sqrt(held.reduce((sum, [i, j, value]) =>
      sum + ((guess(i, j) - value) / trial.scale[j].spread) ** 2, 0) / held.length);
    const byMean = miss((i, j) => trial.scale[j].mean);
    let best = {iterations: 0, error: byMean};
    for (let done = 0, stride = 10; done < most; done += stride) {
      stride = Math.max(10, Math.floor(done / 8));
      run(trial, stride);
      const X = descent.models.udv.product(trial.factors, trial.problem), error = miss((i, j) => trial.cell(X, i, j));
      if (!Number.isFinite(error)) break;
      if (error < best.error) best = {iterations: done + stride, error};
    }
    const final = prepared(entries, rows, cols, {strength, seed});
    run(final, best.iterations);
    const X = descent.models.udv.product(final.factors, final.problem), means = best.iterations === 0;
    const values = table.values.map((row, i) => row.map((value, j) =>
      value ?? (means ? final.scale[j].mean : final.cell(X, i, j))));
    const spectrum = descent.models.udv.spectrum(final.factors, final.problem);
    const rank = means ? 0 : spectrum.filter(value => value > 1e-2 * spectrum[0]).length;
    return {values, rank, error: best.error, byMean, held: held.length, iterations: best.iterations};
  }

  function csv(table, values) {
    const quoted = text => (/[",\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text);
    const lines = values.map((row, i) => [...(table.labels ? [quoted(table.labels[i])] : []), ...row.map(shown)].join(","));
    if (table.header) lines.unshift([...(table.labels ? [quoted(table.corner)] : []), ...table.header.map(quoted)].join(","));
    return `${lines.join("\n")}\n`;
  }

  const shown = value => String(Number(value.toPrecision(4)));

  return {parse, complete, csv, shown, TableError};
})();
