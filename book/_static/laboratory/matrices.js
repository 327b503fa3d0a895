// Matrices for the laboratory: row by row in a Float64Array. No state, no page.
"use strict";

const matrices = (() => {
  // C = A B for A (n, m) and B (m, p)
  function product(A, B, n, m, p, C = new Float64Array(n * p)) {
    C.fill(0);
    for (let i = 0; i < n; i++)
      for (let k = 0; k < m; k++) {
        const a = A[i * m + k];
        for (let j = 0; j < p; j++) C[i * p + j] += a * B[k * p + j];
      }
    return C;
  }

  function transposed(A, n, m) {
    const B = new Float64Array(n * m); // (m, n)
    for (let i = 0; i < n; i++) for (let j = 0; j < m; j++) B[j * n + i] = A[i * m + j];
    return B;
  }

  function timesColumns(A, weights, n, m) {
    return A.map((value, k) => value * weights[k % m]);
  }

  function norm(A) {
    let sum = 0;
    for (const value of A) sum += value * value;
    return Math.sqrt(sum);
  }

  function identity(n, scale = 1) {
    const I = new Float64Array(n * n);
    for (let i = 0; i < n; i++) I[i * n + i] = scale;
    return I;
  }

  // Columns of A (n, m) turned until they are orthogonal: one-sided Jacobi, which keeps small values exact to many digits.
  function orthogonalised(A, n, m) {
    const columns = transposed(A, n, m); // (m, n)
    for (let sweep = 0; sweep < 30; sweep++) {
      let turned = false;
      for (let i = 0; i < m - 1; i++)
        for (let j = i + 1; j < m; j++) turned = rotated(columns, i * n, j * n, n) || turned;
      if (!turned) break;
    }
    return columns;
  }

  function rotated(columns, a, b, n) {
    let aa = 0, bb = 0, ab = 0;
    for (let k = 0; k < n; k++) {
      const x = columns[a + k], y = columns[b + k];
      aa += x * x; bb += y * y; ab += x * y;
    }
    if (Math.abs(ab) <= 1e-15 * Math.sqrt(aa * bb)) return false;
    const zeta = (bb - aa) / (2 * ab);
    if (!Number.isFinite(zeta)) return false; // one column is nothing beside the other
    const t = (zeta < 0 ? -1 : 1) / (Math.abs(zeta) + Math.sqrt(1 + zeta * zeta));
    const c = 1 / Math.sqrt(1 + t * t), s = c * t;
    for (let k = 0; k < n; k++) {
      const x = columns[a + k], y = columns[b + k];
      columns[a + k] = c * x - s * y;
      columns[b + k] = s * x + c * y;
    }
    return true;
  }

  // Singular values of A (n, m), descending
  function singularValues(A, n, m) {
    if (m > n) return singularValues(transposed(A, n, m), m, n);
    const columns = orthogonalised(A, n, m);
    const values = Float64Array.from({length: m}, (_, j) => norm(columns.subarray(j * n, (j + 1) * n)));
    return values.sort().reverse();
  }

  // Orthonormal columns spanning those of A (n, m), by Gram and Schmidt, twice
  function orthonormal(A, n, m) {
    const columns = transposed(A, n, m);
    for (let j = 0; j < m; j++) {
      const own = columns.subarray(j * n, (j + 1) * n);
      for (let again = 0; again < 2; again++)
        for (let i = 0; i < j; i++) {
          const other = columns.subarray(i * n, (i + 1) * n);
          const along = own.reduce((sum, value, k) => sum + value * other[k], 0);
          own.forEach((_, k) => { own[k] -= along * other[k]; });
        }
      const length = norm(own);
      own.forEach((_, k) => { own[k] /= length; });
    }
    return transposed(columns, m, n);
  }

  // Random numbers that a seed repeats: uniform in (0, 1), and standard normal
  function random(seed) {
    let state = (seed * 2654435761 + 1013904223) >>> 0;
    function uniform() {
      state = (state + 0x6d2b79f5) >>> 0;
      let t = Math.imul(state ^ (state >>> 15), state | 1);
      t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
      return (((t ^ (t >>> 14)) >>> 0) + 0.5) / 4294967296;
    }
    const normal = () => Math.sqrt(-2 * Math.log(uniform())) * Math.cos(2 * Math.PI * uniform());
    const normals = size => Float64Array.from({length: size}, normal);
    return {uniform, normal, normals};
  }

  return {product, transposed, timesColumns, norm, identity, singularValues, orthonormal, random};
})();
