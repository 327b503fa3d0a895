// The laboratory's page: settings, the running experiment, and the pasted table.
"use strict";

(() => {
  const SIGMA = [3, 2, 1]; // before scaling: the singular values of the authors' code
  const STEPS_A_FRAME = 0.012; // seconds of arithmetic before the page is drawn again
  const MOST = 200000;
  const VISIBLE = 20; // expected shrink below which a tail stays above 1e-8
  const byId = id => document.getElementById(id);
  const controls = document.querySelectorAll("#lab-settings [name]");
  const calm = matchMedia("(prefers-reduced-motion: reduce)");

  const PRESETS = {
    udu: {text: "UDU ends truly low-rank: all columns but three die, by a factor that grows with every step.", set: {}},
    bm: {text: "Burer–Monteiro on the same entries: the fourth value stops falling. Compare with the run before, in grey.", set: {model: "bm"}},
    weak: {text: "A radius too large for the data: the ball is never pressed, nothing shrinks, and a tail stays.", set: {radius: 2.2, dInit: 2.2}},
    lazy: {text: "D starts as large as the solution: the entries are fitted at once, with the wrong matrix.", set: {radius: 2, dInit: 12, share: 0.3, initScale: 2, stepSize: 0.02}},
    strong: {text: "A radius too small: the last column is shrunk so far that it takes very long to come back.", set: {radius: 0.6, dInit: 0.6, stepSize: 0.01}},
    oscillating: {text: "A step far above the stable one: the residual swings and does not settle.", set: {stepSize: 0.4}},
    noise: {text: "Noise: UDU fits it with more columns, one after the other. Stop while the error is lowest.", set: {noise: 0.3}},
    scale: {text: "The same radius on data three times as large: a three times stronger bias.", set: {dataScale: 3, stepSize: 0.005}},
    deep: {text: "Three factors from small multiples of the identity: the singular values come one by one, with plateaus between.", set: {model: "deep", share: 1, depth: 3, initScale: 0.1, stepSize: 0.01, d: 20}},
  };
  const DEFAULTS = {model: "udu", d: 40, rank: 40, radius: 1, dInit: 1, initScale: 0.01, stepSize: 0.05, depth: 3, dataScale: 1, share: 0.4, noise: 0, seed: 1};

  let run = null, before = null, playing = false, drawn = 0, announced = 0;

  function settings() {
    const chosen = {};
    for (const control of controls) chosen[control.name] = control.name === "model" ? control.value : Number(control.value);
    return {...chosen, rank: Math.min(chosen.rank, chosen.d)};
  }

  const valid = () => [...controls].every(control => control.parentElement.hidden || control.checkValidity());

  function fresh() {
    const chosen = settings(), model = descent.models[chosen.model];
    const sigma = SIGMA.map(value => value * chosen.dataScale);
    const {problem, truth} = descent.planted({d: chosen.d, singularValues: sigma, share: chosen.share, noise: chosen.noise, seed: chosen.seed});
    const factors = model.start(problem, chosen, descent.random(chosen.seed + 1000));
    const size = problem.targets.reduce((sum, t, k) => sum + problem.weights[k] * t * t, 0);
    run = {chosen, sigma, model, problem, truth, factors, iteration: 0, objective: NaN, shrink: 0, size, history: [], status: "ready"};
    measure();
    draw();
    announce();
  }

  function advance(seconds) {
    const end = performance.now() + 1000 * seconds;
    do {
      const {objective, shrink} = run.model.step(run.problem, run.factors, run.chosen);
      run.objective = objective;
      run.shrink += shrink;
      run.iteration += 1;
      if (!Number.isFinite(objective)) return stop("diverged: the step is too large");
    } while (performance.now() < end && run.iteration < MOST);
    if (run.iteration >= MOST) stop("stopped at the longest run");
  }

  // The residual and error of the state as it is, kept for the curve; 400 points at most
  function measure() {
    const X = run.model.product(run.factors, run.problem);
    let off = 0, all = 0;
    X.forEach((x, k) => { off += (x - run.truth[k]) ** 2; all += run.truth[k] ** 2; });
    const W = run.problem.weights, T = run.problem.targets;
    const misfit = X.reduce((sum, x, k) => sum + W[k] * (x - T[k]) ** 2, 0);
    run.residual = Math.sqrt(misfit / run.size);
    run.error = Math.sqrt(off / all);
    run.history.push({iteration: run.iteration, residual: run.residual, error: run.error});
    if (run.history.length > 400) run.history = run.history.filter((_, k) => k % 2 === 0 || k === run.history.length - 1);
    run.spectrum = run.model.spectrum(run.factors, run.problem);
    run.columns = run.model.columns?.(run.factors, run.problem) ?? null;
  }

  function rankOf(values) {
    return values.filter(value => value > 1e-8 * values[0]).length;
  }

  const short = value => (Number.isFinite(value) ? (value !== 0 && (value < 1e-2 || value >= 1e4) ? value.toExponential(1) : value.toPrecision(3)) : "—");

  function place() {
    const {chosen, sigma} = run, shrunk = descent.expectedShrink(sigma, chosen.radius, chosen.dInit);
    const kappa = descent.strength(sigma, chosen.radius), delta = chosen.dInit / chosen.radius;
    const limit = descent.largestStep(sigma, chosen.radius, chosen.dInit, descent.density(run.problem));
    return {kappa, delta, shrunk, limit, rank: sigma.length, usable: chosen.model === "udu"};
  }

  function summary() {
    const at = place();
    const parts = [`Iteration ${run.iteration}: residual ${short(run.residual)}, error ${short(run.error)}, rank ${rankOf(run.spectrum)} at 10⁻⁸ of the largest singular value.`];
    if (run.status !== "running" && run.status !== "ready") parts.push(`Run ${run.status}.`);
    return {text: parts.join(" "), at};
  }

  function atlasText(at) {
    if (!at.usable) return "The atlas is of UDU: this model has no radius.";
    const where = at.shrunk === 0 ? "The ball is not pressed: lazy." : at.shrunk < VISIBLE ? "Too little shrink: a tail stays." : "Enough shrink for low rank.";
    const wait = descent.expectedWait(run.sigma, run.chosen.radius, run.chosen.dInit, run.chosen.stepSize, run.chosen.share);
    return `κ = ${short(at.kappa)}, D₀/α = ${short(at.delta)}. Expected shrink ${short(at.shrunk)}, so far ${short(run.shrink)}. ${where} The step is ${short(run.chosen.stepSize / at.limit)} of the largest stable one; the last column is expected back after about ${Math.round(wait)} iterations.`;
  }

  function draw() {
    const {text, at} = summary(), old = before;
    charts.progress(byId("lab-progress"), run.history, old?.history, true);
    charts.spectrum(byId("lab-spectrum"), run.spectrum, old?.spectrum, run.sigma);
    charts.columns(byId("lab-columns"), run.columns);
    charts.atlas(byId("lab-atlas"), {...at, shrunk: VISIBLE});
    byId("lab-numbers").textContent = text;
    byId("lab-atlas-text").textContent = atlasText(at);
    const values = Array.from(run.spectrum.slice(0, 6), short).join(", ");
    byId("lab-values").textContent = `First singular values: ${values}. True: ${run.sigma.map(short).join(", ")}.`;
    byId("lab-progress").setAttribute("aria-label", `Curves of residual and error. ${text}`);
    byId("lab-spectrum").setAttribute("aria-label", `Singular values: ${values}`);
    const alive = run.columns ? run.columns.filter(value => value > 1e-8).length : null;
    byId("lab-columns").setAttribute("aria-label", alive === null ? "No columns in this model" : `${alive} of ${run.columns.length} columns are larger than 1e-8`);
    byId("lab-atlas").setAttribute("aria-label", `The atlas. ${atlasText(at)}`);
    drawn += 1;
  }

  // For screen readers: now and then, and when something has happened
  function announce() {
    byId("lab-live").textContent = summary().text;
    announced = performance.now();
  }

  function frame() {
    if (!playing) return;
    advance(calm.matches ? 0.5 : STEPS_A_FRAME);
    measure();
    draw();
    if (performance.now() - announced > 5000) announce();
    if (playing) calm.matches ? setTimeout(frame, 500) : requestAnimationFrame(frame);
  }

  function start() {
    if (run.status.startsWith("diverged")) fresh();
    playing = true;
    run.status = "running";
    byId("lab-run").textContent = "Pause";
    calm.matches ? setTimeout(frame, 0) : requestAnimationFrame(frame);
  }

  function stop(status = "paused") {
    playing = false;
    run.status = status;
    byId("lab-run").textContent = "Run";
    announce();
  }

  function restart() {
    playing = false;
    byId("lab-run").textContent = "Run";
    if (run?.iteration) before = run;
    fresh();
  }

  function choose(values) {
    for (const control of controls) if (control.name in values) control.value = values[control.name];
    showFor();
  }

  // Settings that the model does not have are not there to be set
  function showFor() {
    const {model} = settings();
    for (const element of document.querySelectorAll("#lab-settings [data-for]"))
      element.hidden = !element.dataset.for.split(" ").includes(model);
  }

  function preset(name) {
    byId("lab-preset-text").textContent = PRESETS[name].text;
    choose({...DEFAULTS, ...PRESETS[name].set});
    restart();
    start();
  }

  function completeTable() {
    const status = byId("lab-table-status"), out = byId("lab-table-out");
    out.replaceChildren();
    byId("lab-table-save").hidden = true;
    try {
      const table = tables.parse(byId("lab-table").value);
      const holes = table.values.flat().filter(value => value === null).length;
      const done = tables.complete(table);
      status.textContent = done.iterations
        ? `${holes} holes filled, with rank ${done.rank} after ${done.iterations} iterations. On ${done.held} held-out entries the error was ${short(done.error)} of a column's spread; the column's mean gives ${short(done.byMean)}.`
        : `${holes} holes filled with the means of their columns: on ${done.held} held-out entries nothing better was found, so this table shows no low rank that its entries reveal.`;
      out.append(tableElement(table, done.values));
      const save = byId("lab-table-save");
      if (save.href) URL.revokeObjectURL(save.href);
      save.href = URL.createObjectURL(new Blob([tables.csv(table, done.values)], {type: "text/csv"}));
      save.hidden = false;
    } catch (error) {
      if (!(error instanceof tables.TableError)) throw error;
      status.textContent = error.message;
    }
  }

  // Built from text nodes alone: what is pasted is never read as HTML
  function tableElement(table, values) {
    const make = (tag, text, attributes = {}) => {
      const element = document.createElement(tag);
      if (text !== null) element.textContent = text;
      for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
      return element;
    };
    const element = make("table", null), body = make("tbody", null);
    element.append(make("caption", "The table, completed; what was filled in is bold and marked ≈."));
    if (table.header) {
      const head = make("thead", null), row = make("tr", null);
      if (table.labels) row.append(make(table.corner ? "th" : "td", table.corner));
      row.append(...table.header.map(name => make("th", name, {scope: "col"})));
      head.append(row);
      element.append(head);
    }
    values.forEach((cells, i) => {
      const row = make("tr", null);
      if (table.labels) row.append(make("th", table.labels[i], {scope: "row"}));
      cells.forEach((value, j) => {
        const known = table.values[i][j] !== null;
        row.append(make("td", `${known ? "" : "≈ "}${tables.shown(value)}`, known ? {} : {class: "lab-filled"}));
      });
      body.append(row);
    });
    element.append(body);
    return element;
  }

  for (const button of document.querySelectorAll("[data-preset]"))
    button.addEventListener("click", () => preset(button.dataset.preset));
  for (const control of controls)
    control.addEventListener("input", () => { showFor(); if (valid()) restart(); });
  byId("lab-run").addEventListener("click", () => (playing ? stop() : start()));
  byId("lab-restart").addEventListener("click", restart);
  byId("lab-forget").addEventListener("click", () => { before = null; draw(); });
  byId("lab-complete").addEventListener("click", completeTable);
  window.addEventListener("resize", draw);
  new MutationObserver(draw).observe(document.documentElement, {attributes: true, attributeFilter: ["data-theme"]});

  choose(DEFAULTS);
  fresh();
  document.getElementById("lab").dataset.ready = "yes";
  window.laboratory = {state: () => ({...run, playing, drawn}), preset}; // for the tests
})();
