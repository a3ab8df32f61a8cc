"use strict";
// Isosurfaces of the report: one WebGL context for the whole page. Every view is a plain 2-D canvas
// that gets its picture copied, so any number of views may stand side by side and turn together.
// Contouring is by naive surface nets (Gibson 1998): one vertex per cell that the surface crosses.
(function () {
  const FACES = [[1, 2], [2, 0], [0, 1]];
  const TURN = 0.008; // radians per pixel dragged
  const START = multiply(turnX(-0.45), turnY(0.5));

  // ---- maps ----------------------------------------------------------------------------------
  function decode(map) {
    const bytes = Uint8Array.from(atob(map.data), (c) => c.charCodeAt(0));
    let [nz, ny, nx] = map.shape;
    let data = Float32Array.from(bytes);
    let voxel = map.voxel;
    while (Math.max(nx, ny, nz) <= 40 && voxel > 0) {
      ({ data, nx, ny, nz } = finer(data, nx, ny, nz));
      voxel /= 2;
    }
    close(data, nx, ny, nz);
    const scale = (map.high - map.low) / 255;
    return { data, nx, ny, nz, voxel, level: map.level, low: map.low, scale, peak: peak(data) };
  }

  function peak(data) {
    let top = 0;
    for (let i = 0; i < data.length; i++) if (data[i] > top) top = data[i];
    return top;
  }

  // Twice the samples along each axis by cubic (Catmull-Rom) interpolation.
  function finer(data, nx, ny, nz) {
    let out = along(data, nx, ny * nz, (line, i) => line * nx + i, (line, i) => line * 2 * nx + i);
    const mx = 2 * nx;
    out = along(out, ny, mx * nz,
      (line, i) => (line % mx) + mx * (i + ny * ((line / mx) | 0)),
      (line, i) => (line % mx) + mx * (i + 2 * ny * ((line / mx) | 0)));
    const plane = mx * 2 * ny;
    out = along(out, nz, plane, (line, i) => line + plane * i, (line, i) => line + plane * i);
    return { data: out, nx: mx, ny: 2 * ny, nz: 2 * nz };
  }

  function along(data, n, lines, from, to) {
    const out = new Float32Array(2 * n * lines);
    for (let line = 0; line < lines; line++) {
      for (let i = 0; i < n; i++) {
        const b = data[from(line, i)];
        const a = data[from(line, Math.max(i - 1, 0))];
        const c = data[from(line, Math.min(i + 1, n - 1))];
        const d = data[from(line, Math.min(i + 2, n - 1))];
        out[to(line, 2 * i)] = b;
        out[to(line, 2 * i + 1)] = (9 * (b + c) - a - d) / 16;
      }
    }
    return out;
  }

  // The outermost layer is emptied so that surfaces end in a wall and not in a hole.
  function close(data, nx, ny, nz) {
    for (let z = 0, at = 0; z < nz; z++)
      for (let y = 0; y < ny; y++)
        for (let x = 0; x < nx; x++, at++)
          if (!x || !y || !z || x === nx - 1 || y === ny - 1 || z === nz - 1) data[at] = 0;
  }

  // ---- contouring ----------------------------------------------------------------------------
  function contour(map, level) {
    const { data, nx, ny, nz } = map;
    const iso = Math.max((level - map.low) / map.scale, 0.5);
    const step = [1, nx, nx * ny];
    const vertex = new Int32Array(data.length).fill(-1);
    const points = [], normals = [], corners = [];
    const half = [nx / 2, ny / 2, nz / 2];
    for (let z = 0; z < nz - 1; z++)
      for (let y = 0; y < ny - 1; y++)
        for (let x = 0; x < nx - 1; x++) {
          const at = x + nx * (y + ny * z);
          const p = crossing(data, at, step, iso);
          if (!p) continue;
          vertex[at] = points.length / 3;
          p[0] += x; p[1] += y; p[2] += z;
          points.push((p[0] - half[0]) * map.voxel, (p[1] - half[1]) * map.voxel, (p[2] - half[2]) * map.voxel);
          normals.push(...slope(map, p[0], p[1], p[2]));
          for (let a = 0; a < 3; a++) quad(data, vertex, at, step, a, [x, y, z], iso, corners);
        }
    return { points: new Float32Array(points), normals: new Float32Array(normals), corners: new Uint32Array(corners) };
  }

  // Mean of the crossings on the twelve edges of a cell, or null where the surface is not.
  function crossing(data, at, step, iso) {
    const v = new Array(8);
    let inside = 0;
    for (let c = 0; c < 8; c++) {
      v[c] = data[at + (c & 1) * step[0] + ((c >> 1) & 1) * step[1] + (c >> 2) * step[2]];
      if (v[c] > iso) inside++;
    }
    if (inside === 0 || inside === 8) return null;
    const sum = [0, 0, 0];
    let count = 0;
    for (let c = 0; c < 8; c++)
      for (let a = 0; a < 3; a++) {
        if (c & (1 << a)) continue;
        const d = c | (1 << a);
        if (v[c] > iso === v[d] > iso) continue;
        const t = (iso - v[c]) / (v[d] - v[c]);
        for (let k = 0; k < 3; k++) sum[k] += (c >> k) & 1;
        sum[a] += t;
        count++;
      }
    return sum.map((s) => s / count);
  }

  function quad(data, vertex, at, step, a, xyz, iso, corners) {
    const [u, w] = FACES[a];
    if (xyz[u] === 0 || xyz[w] === 0) return;
    const here = data[at] > iso, there = data[at + step[a]] > iso;
    if (here === there) return;
    const p = vertex[at], q = vertex[at - step[u]], r = vertex[at - step[u] - step[w]], s = vertex[at - step[w]];
    if (here) corners.push(p, q, r, p, r, s);
    else corners.push(p, r, q, p, s, r);
  }

  function sample(map, x, y, z) {
    const { data, nx, ny, nz } = map;
    const i = Math.min(Math.max(x | 0, 0), nx - 2), j = Math.min(Math.max(y | 0, 0), ny - 2), k = Math.min(Math.max(z | 0, 0), nz - 2);
    const fx = x - i, fy = y - j, fz = z - k;
    const at = i + nx * (j + ny * k), up = nx * ny;
    const mix = (o) => (data[at + o] * (1 - fx) + data[at + o + 1] * fx) * (1 - fy) + (data[at + o + nx] * (1 - fx) + data[at + o + nx + 1] * fx) * fy;
    return mix(0) * (1 - fz) + mix(up) * fz;
  }

  function slope(map, x, y, z) {
    const h = 1.2;
    const g = [
      sample(map, x - h, y, z) - sample(map, x + h, y, z),
      sample(map, x, y - h, z) - sample(map, x, y + h, z),
      sample(map, x, y, z - h) - sample(map, x, y, z + h),
    ];
    const length = Math.hypot(...g) || 1;
    return g.map((c) => c / length);
  }

  // ---- the one context -----------------------------------------------------------------------
  const VERTEX = `#version 300 es
    in vec3 point; in vec3 normal; uniform mat3 turn; uniform vec2 zoom; out vec3 n; out float depth;
    void main() { vec3 p = turn * point; n = turn * normal; depth = p.z * zoom.x;
      gl_Position = vec4(p.xy * zoom, -p.z * zoom.x * 0.4, 1.0); }`;
  const FRAGMENT = `#version 300 es
    precision highp float; in vec3 n; in float depth; uniform vec3 colour; out vec4 pixel;
    void main() { vec3 m = normalize(n); if (!gl_FrontFacing && m.z < 0.0) m = -m;
      float key = max(dot(m, normalize(vec3(-0.4, 0.6, 0.75))), 0.0);
      float fill = max(dot(m, normalize(vec3(0.7, -0.2, 0.5))), 0.0);
      float shine = pow(max(dot(m, normalize(vec3(-0.25, 0.35, 1.0))), 0.0), 28.0);
      float rim = smoothstep(0.0, 0.55, m.z);
      vec3 c = colour * (0.34 + 0.62 * key + 0.18 * fill) * mix(0.62, 1.0, rim) + 0.16 * shine;
      pixel = vec4(mix(c, vec3(0.96), clamp(-depth * 0.28, 0.0, 0.35)), 1.0); }`;

  const stage = { canvas: document.createElement("canvas"), gl: null, program: null, age: 0 };

  function open() {
    const gl = stage.canvas.getContext("webgl2", { antialias: true, alpha: true, premultipliedAlpha: true });
    if (!gl) return false;
    const program = gl.createProgram();
    for (const [kind, text] of [[gl.VERTEX_SHADER, VERTEX], [gl.FRAGMENT_SHADER, FRAGMENT]]) {
      const shader = gl.createShader(kind);
      gl.shaderSource(shader, text.trim());
      gl.compileShader(shader);
      gl.attachShader(program, shader);
    }
    gl.linkProgram(program);
    if (!gl.getProgramParameter(program, gl.LINK_STATUS)) return false;
    gl.useProgram(program);
    gl.enable(gl.DEPTH_TEST);
    stage.gl = gl;
    stage.program = program;
    stage.age++;
    return true;
  }

  stage.canvas.addEventListener("webglcontextlost", (event) => { event.preventDefault(); stage.gl = null; });
  stage.canvas.addEventListener("webglcontextrestored", () => { if (open()) views.forEach((v) => { v.dirty = true; }); schedule(); });

  function upload(mesh) {
    const gl = stage.gl;
    if (mesh.age === stage.age) return;
    mesh.array = gl.createVertexArray();
    gl.bindVertexArray(mesh.array);
    mesh.buffers = [];
    for (const [name, values] of [["point", mesh.points], ["normal", mesh.normals]]) {
      const buffer = gl.createBuffer(), place = gl.getAttribLocation(stage.program, name);
      gl.bindBuffer(gl.ARRAY_BUFFER, buffer);
      gl.bufferData(gl.ARRAY_BUFFER, values, gl.STATIC_DRAW);
      gl.enableVertexAttribArray(place);
      gl.vertexAttribPointer(place, 3, gl.FLOAT, false, 0, 0);
      mesh.buffers.push(buffer);
    }
    const buffer = gl.createBuffer();
    gl.bindBuffer(gl.ELEMENT_ARRAY_BUFFER, buffer);
    gl.bufferData(gl.ELEMENT_ARRAY_BUFFER, mesh.corners, gl.STATIC_DRAW);
    mesh.buffers.push(buffer);
    mesh.age = stage.age;
  }

  function discard(mesh) {
    if (!mesh || mesh.age !== stage.age || !stage.gl) return;
    mesh.buffers.forEach((b) => stage.gl.deleteBuffer(b));
    stage.gl.deleteVertexArray(mesh.array);
    mesh.age = -1;
  }

  function draw(view) {
    const ratio = Math.min(window.devicePixelRatio || 1, 2);
    const wide = Math.round((view.canvas.clientWidth || 200) * ratio), tall = Math.round((view.canvas.clientHeight || 200) * ratio);
    const context = view.canvas.getContext("2d");
    if (view.canvas.width !== wide || view.canvas.height !== tall) { view.canvas.width = wide; view.canvas.height = tall; }
    context.clearRect(0, 0, wide, tall);
    const mesh = meshOf(view);
    view.canvas.dataset.triangles = String(mesh.corners.length / 3);
    if (!stage.gl || !mesh.corners.length) return;
    const gl = stage.gl, group = view.group;
    if (stage.canvas.width < wide || stage.canvas.height < tall) {
      stage.canvas.width = Math.max(wide, stage.canvas.width);
      stage.canvas.height = Math.max(tall, stage.canvas.height);
    }
    gl.viewport(0, 0, wide, tall);
    gl.clearColor(0, 0, 0, 0);
    gl.clear(gl.COLOR_BUFFER_BIT | gl.DEPTH_BUFFER_BIT);
    upload(mesh);
    gl.bindVertexArray(mesh.array);
    const extent = group.zoom / group.radius, side = Math.min(wide, tall);
    gl.uniform2f(gl.getUniformLocation(stage.program, "zoom"), (extent * side) / wide, (extent * side) / tall);
    gl.uniformMatrix3fv(gl.getUniformLocation(stage.program, "turn"), true, group.turn);
    gl.uniform3fv(gl.getUniformLocation(stage.program, "colour"), view.colour);
    gl.drawElements(gl.TRIANGLES, mesh.corners.length, gl.UNSIGNED_INT, 0);
    context.drawImage(stage.canvas, 0, stage.canvas.height - tall, wide, tall, 0, 0, wide, tall);
  }

  // ---- views and groups ------------------------------------------------------------------------
  const groups = new Map(), views = [];
  let pending = false;

  function groupOf(name) {
    if (groups.has(name)) return groups.get(name);
    const source = document.getElementById("maps-" + name);
    const group = { maps: source ? JSON.parse(source.textContent) : {}, ready: {}, factor: 1, own: false, zoom: 1, radius: 1, turn: START };
    const all = Object.values(group.maps);
    group.radius = Math.max(1, ...all.map((m) => 0.5 * Math.max(...m.shape) * m.voxel)) * 1.02;
    const levels = all.map((m) => m.level).sort((a, b) => a - b);
    group.level = levels[levels.length >> 1] || 1;
    groups.set(name, group);
    return group;
  }

  function mapOf(group, name) {
    if (!group.ready[name] && group.maps[name]) group.ready[name] = decode(group.maps[name]);
    return group.ready[name];
  }

  // All maps of a group share a level so that they compare; a map too weak for it shows its own.
  function levelOf(view, map) {
    const group = view.group;
    const shared = group.level * group.factor, own = map.level * group.factor;
    const weak = (shared - map.low) / map.scale > 0.8 * map.peak;
    view.canvas.parentElement.classList.toggle("own-level", weak && !group.own);
    return group.own || weak ? own : shared;
  }

  function meshOf(view) {
    const name = view.frames[view.frame], map = mapOf(view.group, name);
    if (!map) return { corners: [] };
    const level = levelOf(view, map), key = name + "@" + level;
    if (!view.meshes.has(key)) {
      if (view.meshes.size >= Math.max(view.frames.length, 1)) { view.meshes.forEach(discard); view.meshes.clear(); }
      view.meshes.set(key, contour(map, level));
    }
    return view.meshes.get(key);
  }

  function schedule() {
    if (pending) return;
    pending = true;
    setTimeout(work, 0);
  }

  // Views on the screen first, a few milliseconds at a time, so that the page never hangs.
  function work() {
    pending = false;
    const start = performance.now();
    const waiting = views.filter((v) => v.dirty && v.canvas.clientWidth > 0).sort((a, b) => Number(b.seen) - Number(a.seen));
    for (const view of waiting) {
      view.dirty = false;
      draw(view);
      if (performance.now() - start > 24) break;
    }
    if (views.some((v) => v.dirty && v.canvas.clientWidth > 0)) schedule();
    else finish();
  }

  function finish() {
    const shown = views.filter((v) => v.canvas.clientWidth > 0);
    document.body.dataset.surfaces = shown.filter((v) => Number(v.canvas.dataset.triangles) > 0).length + "/" + shown.length;
    document.body.dataset.ready = stage.gl ? "yes" : "no-webgl";
  }

  function refresh(group) {
    views.forEach((v) => { if (v.group === group) v.dirty = true; });
    schedule();
  }

  function hook(view) {
    const { canvas, group } = view;
    let last = null;
    canvas.addEventListener("pointerdown", (e) => { canvas.setPointerCapture(e.pointerId); last = [e.clientX, e.clientY]; });
    canvas.addEventListener("pointermove", (e) => {
      if (!last) return;
      rotate(group, (e.clientX - last[0]) * TURN, (e.clientY - last[1]) * TURN);
      last = [e.clientX, e.clientY];
    });
    for (const name of ["pointerup", "pointercancel"]) canvas.addEventListener(name, () => { last = null; });
    canvas.addEventListener("dblclick", () => { group.turn = START; group.zoom = 1; refresh(group); });
    canvas.addEventListener("wheel", (e) => {
      if (!(e.ctrlKey || e.metaKey || e.shiftKey)) return;
      e.preventDefault();
      group.zoom = Math.min(Math.max(group.zoom * Math.exp(-(e.deltaY || e.deltaX) * 0.002), 0.4), 8);
      refresh(group);
    }, { passive: false });
    canvas.addEventListener("keydown", (e) => {
      const move = { ArrowLeft: [-0.15, 0], ArrowRight: [0.15, 0], ArrowUp: [0, -0.15], ArrowDown: [0, 0.15] }[e.key];
      if (move) { e.preventDefault(); rotate(group, move[0], move[1]); }
    });
  }

  function rotate(group, dx, dy) {
    group.turn = multiply(multiply(turnX(dy), turnY(dx)), group.turn);
    refresh(group);
  }

  function controls() {
    document.querySelectorAll("[data-level-of]").forEach((input) => {
      const group = groupOf(input.dataset.levelOf), output = input.parentElement.querySelector("output");
      const show = () => { group.factor = 2 ** Number(input.value); output.textContent = "× " + group.factor.toFixed(2); };
      input.addEventListener("input", () => { show(); refresh(group); });
      show();
    });
    document.querySelectorAll("[data-own-level-of]").forEach((input) => {
      const group = groupOf(input.dataset.ownLevelOf);
      input.addEventListener("change", () => { group.own = input.checked; refresh(group); });
    });
    document.querySelectorAll("[data-frames-of]").forEach(frames);
  }

  // Slider and play button of a traversal.
  function frames(input) {
    const view = views.find((v) => v.canvas.id === input.dataset.framesOf);
    if (!view) return;
    const go = (i) => { view.frame = i; view.dirty = true; schedule(); };
    input.addEventListener("input", () => go(Number(input.value)));
    const button = input.parentElement.querySelector("button");
    let timer = 0, way = 1;
    button.addEventListener("click", () => {
      if (timer) { clearInterval(timer); timer = 0; button.textContent = "Play"; return; }
      button.textContent = "Pause";
      timer = setInterval(() => {
        const next = Number(input.value) + way, top = Number(input.max);
        if (next >= top || next <= 0) way = -way;
        input.value = String(Math.min(Math.max(next, 0), top));
        go(Number(input.value));
      }, 160);
    });
  }

  // ---- small matrices, row-major ---------------------------------------------------------------
  function multiply(a, b) {
    const out = new Array(9);
    for (let i = 0; i < 3; i++) for (let j = 0; j < 3; j++) out[3 * i + j] = a[3 * i] * b[j] + a[3 * i + 1] * b[3 + j] + a[3 * i + 2] * b[6 + j];
    return out;
  }
  function turnX(t) { const c = Math.cos(t), s = Math.sin(t); return [1, 0, 0, 0, c, -s, 0, s, c]; }
  function turnY(t) { const c = Math.cos(t), s = Math.sin(t); return [c, 0, s, 0, 1, 0, -s, 0, c]; }
  function rgb(hex) { return [1, 3, 5].map((i) => parseInt(hex.slice(i, i + 2), 16) / 255); }

  window.addEventListener("DOMContentLoaded", () => {
    const able = open();
    document.body.classList.toggle("no-webgl", !able);
    const watch = new IntersectionObserver((entries) => entries.forEach((e) => { e.target.view.seen = e.isIntersecting; }));
    document.querySelectorAll("canvas.surface").forEach((canvas) => {
      const view = { canvas, group: groupOf(canvas.dataset.group), frames: canvas.dataset.maps.split(" "), frame: Number(canvas.dataset.frame || 0), colour: rgb(canvas.dataset.colour || "#8fa3b5"), meshes: new Map(), dirty: true, seen: false };
      canvas.view = view;
      views.push(view);
      hook(view);
      watch.observe(canvas);
    });
    const resized = new ResizeObserver((entries) => { entries.forEach((e) => { e.target.view.dirty = true; }); schedule(); });
    views.forEach((v) => resized.observe(v.canvas));
    controls();
    schedule();
  });
})();
