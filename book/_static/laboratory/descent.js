// The arithmetic of the laboratory: projected gradient descent as udulib does it (tested to 1e-10 against it).
// A problem is {rows, cols, weights, targets, offset} with f(X) = 1/2 sum W (X - T)^2 + offset.
"use strict";

const descent = (() => {
  const {product, transposed, timesColumns, norm, identity, singularValues, orthonormal, random} = matrices;

  // Known entries of a matrix. Of a symmetric X each is measured as (X_ij + X_ji) / 2.
  function completion({rows, cols, entries, symmetric}) {
    const W = new Float64Array(rows * cols), sums = new Float64Array(rows * cols);
    let squares = 0;
    for (const [i, j, value] of entries) {
      const places = symmetric ? [[i, j, 0.5], [j, i, 0.5]] : [[i, j, 1]];
      for (const [a, b, weight] of places) {
        W[a * cols + b] += weight;
        sums[a * cols + b] += weight * value;
      }
      squares += value * value;
    }
    const T = sums.map((sum, k) => (W[k] > 0 ? sum / W[k] : 0));
    const kept = T.reduce((total, t, k) => total + W[k] * t * t, 0);
    return {rows, cols, weights: W, targets: T, offset: (squares - kept) / 2, symmetric};
  }

  // f(X) and its gradient G, which takes the place of X
  function gradient(problem, X) {
    const {weights, targets, rows, symmetric} = problem;
    let sum = 0;
    if (symmetric === true)
      for (let i = 0; i < rows; i++)
        for (let j = 0; j < i; j++) X[i * rows + j] = X[j * rows + i] = (X[i * rows + j] + X[j * rows + i]) / 2;
    for (let k = 0; k < X.length; k++) {
      const misfit = X[k] - targets[k];
      X[k] = weights[k] * misfit;
      sum += X[k] * misfit;
    }
    return sum / 2 + problem.offset;
  }

  // U <- radius U / ||U|| where it is longer; the return value is log(1/c)
  function project(U, radius) {
    const size = norm(U);
    if (!(size > radius)) return 0;
    for (let k = 0; k < U.length; k++) U[k] *= radius / size;
    return Math.log(size / radius);
  }

  function move(A, G, step) {
    for (let k = 0; k < A.length; k++) A[k] -= step * G[k];
  }

  // diag(A^T B) for A, B (n, r)
  function columnProducts(A, B, n, r) {
    const out = new Float64Array(r);
    for (let i = 0; i < n; i++) for (let j = 0; j < r; j++) out[j] += A[i * r + j] * B[i * r + j];
    return out;
  }

  const ones = r => new Float64Array(r).fill(1);

  // Symmetric X = U diag(D) U^T; without D it is Burer and Monteiro's
  const symmetric = withD => ({
    start({rows}, {rank, initScale, dInit}, rng) {
      const U = rng.normals(rows * rank), size = norm(U);
      const factors = {U: U.map(value => (value * initScale) / size)};
      return withD ? {...factors, D: ones(rank).map(() => dInit)} : factors;
    },
    product({U, D}, {rows}) {
      const r = U.length / rows, UD = D ? timesColumns(U, D, rows, r) : U;
      return product(UD, transposed(U, rows, r), rows, r, rows);
    },
    step(problem, factors, {stepSize, radius}) {
      const {U, D} = factors, n = problem.rows, r = U.length / n;
      const G = this.product(factors, problem), objective = gradient(problem, G);
      const GU = product(G, U, n, n, r), slope = D ? columnProducts(U, GU, n, r) : null;
      move(U, D ? timesColumns(GU, D, n, r) : GU, 2 * stepSize);
      if (!D) return {objective, shrink: 0};
      move(D, slope, stepSize);
      D.forEach((value, j) => { D[j] = Math.max(value, 0); });
      return {objective, shrink: project(U, radius)};
    },
    // The squares of those of U sqrt(D): small ones are exact far below the 1e-16 of X itself
    spectrum({U, D}, {rows}) {
      const r = U.length / rows, root = D ? timesColumns(U, D.map(Math.sqrt), rows, r) : U;
      return singularValues(root, rows, r).map(s => s * s);
    },
    // What each column adds to X: d_j ||u_j||^2
    columns({U, D}, {rows}) {
      const r = U.length / rows;
      return columnProducts(U, U, rows, r).map((size, j) => size * (D ? D[j] : 1));
    },
  });

  // Rectangular X = U diag(D) V^T
  const udv = {
    start({rows, cols}, {rank, initScale, dInit}, rng) {
      const U = rng.normals(rows * rank), V = rng.normals(cols * rank), u = norm(U), v = norm(V);
      const D = ones(rank).map(() => dInit);
      return {U: U.map(value => (value * initScale) / u), D, V: V.map(value => (value * initScale) / v)};
    },
    product({U, D, V}, {rows, cols}) {
      const r = D.length;
      return product(timesColumns(U, D, rows, r), transposed(V, cols, r), rows, r, cols);
    },
    step(problem, factors, {stepSize, radius}) {
      const {U, D, V} = factors, {rows: n, cols: c} = problem, r = D.length;
      const G = this.product(factors, problem), objective = gradient(problem, G);
      const GV = product(G, V, n, c, r), GtU = product(transposed(G, n, c), U, c, n, r);
      const slope = columnProducts(U, GV, n, r);
      move(U, timesColumns(GV, D, n, r), stepSize);
      move(V, timesColumns(GtU, D, c, r), stepSize);
      move(D, slope, stepSize);
      D.forEach((value, j) => { D[j] = Math.max(value, 0); });
      return {objective, shrink: project(U, radius) + project(V, radius)};
    },
    spectrum(factors, problem) {
      return singularValues(this.product(factors, problem), problem.rows, problem.cols);
    },
    columns({U, D, V}, {rows, cols}) {
      const r = D.length, u = columnProducts(U, U, rows, r), v = columnProducts(V, V, cols, r);
      return D.map((value, j) => value * Math.sqrt(u[j] * v[j]));
    },
  };

  // A product of square factors, written from the left: factors[0] is the last, W_N
  const deep = {
    start({rows}, {depth, initScale}) {
      return Array.from({length: depth}, () => identity(rows, initScale));
    },
    product(factors, {rows: n}) {
      return factors.slice(1).reduce((X, factor) => product(X, factor, n, n, n), factors[0].slice());
    },
    step(problem, factors, {stepSize}) {
      const n = problem.rows, last = factors.length - 1;
      const heads = [factors[0].slice()], tails = [factors[last].slice()];
      for (let j = 1; j <= last; j++) heads.push(product(heads[j - 1], factors[j], n, n, n));
      for (let j = last - 1; j > 0; j--) tails.unshift(product(factors[j], tails[0], n, n, n));
      const G = heads[last].slice(), objective = gradient(problem, G);
      factors.forEach((factor, j) => {
        let slope = j ? product(transposed(heads[j - 1], n, n), G, n, n, n) : G;
        if (j < last) slope = product(slope, transposed(tails[j], n, n), n, n, n);
        move(factor, slope, stepSize);
      });
      return {objective, shrink: 0};
    },
    spectrum(factors, problem) {
      return singularValues(this.product(factors, problem), problem.rows, problem.rows);
    },
    columns: null,
  };

  const models = {bm: symmetric(false), udu: symmetric(true), udv, deep};

  // A symmetric matrix with these singular values, some of whose entries are seen, with noise
  function planted({d, singularValues: sigma, share, noise, seed}) {
    const rng = random(seed), k = sigma.length;
    const P = orthonormal(rng.normals(d * k), d, k);
    const X = product(timesColumns(P, sigma, d, k), transposed(P, d, k), d, k, d);
    const places = Array.from(X.keys()), seen = Math.max(1, Math.round(share * d * d));
    for (let i = 0; i < seen; i++) {
      const j = i + Math.floor(rng.uniform() * (places.length - i));
      [places[i], places[j]] = [places[j], places[i]];
    }
    const chosen = places.slice(0, seen);
    const level = noise * Math.sqrt(chosen.reduce((sum, place) => sum + X[place] ** 2, 0) / seen);
    const entries = chosen.map(place => [Math.floor(place / d), place % d, X[place] + level * rng.normal()]);
    return {problem: completion({rows: d, cols: d, entries, symmetric: true}), truth: X};
  }

  // The rules of udulib.factorization.radius
  const strength = (sigma, radius) => (Math.sqrt(sigma.length) * total(sigma)) / radius ** 3;
  const radiusFor = (sigma, kappa) => Math.cbrt((Math.sqrt(sigma.length) * total(sigma)) / kappa);
  const total = values => values.reduce((sum, value) => sum + value, 0);
  const expectedShrink = (sigma, radius, dInit) =>
    Math.max(strength(sigma, radius) ** 2 - sigma.length * (dInit / radius) ** 2, 0);
  const largestStep = (sigma, radius, dInit, density) =>
    1 / (2 * density * sigma[0] * Math.max(total(sigma) / radius ** 2, dInit));

  // Iterations until the last column, shrunk by the ball that the others press, comes back
  const expectedWait = (sigma, radius, dInit, stepSize, share) =>
    (sigma.length > 1 ? expectedShrink(sigma.slice(0, -1), radius, dInit) : 0) /
    (2 * stepSize * dInit * share * sigma[sigma.length - 1]);

  // Share of the entries observed in the fullest row or column
  function density({rows, cols, weights}) {
    const inRow = new Float64Array(rows), inCol = new Float64Array(cols);
    weights.forEach((w, k) => { inRow[Math.floor(k / cols)] += w / cols; inCol[k % cols] += w / rows; });
    return Math.max(...inRow, ...inCol);
  }

  return {completion, planted, models, random, strength, radiusFor, expectedShrink, expectedWait, largestStep, density};
})();
