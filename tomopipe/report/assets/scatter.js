"use strict";
// Latent plots: points on a 2-D canvas. Drag a loop to choose particles and save their uids; hover
// names a particle; ctrl + wheel zooms, shift + drag moves, double click resets.
(function () {
  const PAD = 26;

  function numbers(packed) {
    const bytes = Uint8Array.from(atob(packed.data), (c) => c.charCodeAt(0));
    const raw = new Uint16Array(bytes.buffer);
    const span = (packed.high - packed.low) / 65534;
    // 65535 stands for "not known"
    return Float32Array.from(raw, (v) => (v === 65535 ? NaN : packed.low + v * span));
  }

  function start(box) {
    const plot = JSON.parse(document.getElementById(box.dataset.source).textContent);
    const uids = JSON.parse(document.getElementById("uids-" + plot.dataset).textContent);
    const rows = new Uint32Array(Uint8Array.from(atob(plot.rows), (c) => c.charCodeAt(0)).buffer);
    const state = {
      box, plot, uids, rows, axes: {}, canvas: box.querySelector("canvas"), tip: box.querySelector(".tip"),
      legend: box.querySelector(".legend"), chosen: new Uint8Array(rows.length), loop: null, hidden: new Set(), view: { x: 0, y: 0, k: 1 },
    };
    const [pair, colour] = box.querySelectorAll("select");
    pair.addEventListener("change", () => { state.view = { x: 0, y: 0, k: 1 }; choose(state, pair.value, colour.value); });
    colour.addEventListener("change", () => { state.hidden.clear(); choose(state, pair.value, colour.value); });
    box.querySelector(".save").addEventListener("click", () => save(state));
    box.querySelector(".clear").addEventListener("click", () => { state.chosen.fill(0); tell(state); paint(state); });
    mouse(state);
    new ResizeObserver(() => paint(state)).observe(state.canvas);
    choose(state, pair.value, colour.value);
    tell(state);
  }

  function axis(state, name) {
    if (!state.axes[name]) state.axes[name] = numbers(state.plot.axes[name]);
    return state.axes[name];
  }

  function choose(state, pair, colour) {
    [state.xName, state.yName] = pair.split(" ");
    state.x = axis(state, state.xName);
    state.y = axis(state, state.yName);
    state.key = state.plot.colours[colour];
    if (!state.key.values) state.key.values = numbers(state.key.packed);
    state.range = [extent(state.x), extent(state.y)];
    legend(state);
    paint(state);
  }

  function extent(values) {
    let low = Infinity, high = -Infinity;
    for (const v of values) { if (v < low) low = v; if (v > high) high = v; }
    return high > low ? [low, high] : [low - 1, low + 1];
  }

  function project(state, i) {
    const [[x0, x1], [y0, y1]] = state.range, { x, y, k } = state.view;
    const wide = state.canvas.clientWidth - 2 * PAD, tall = state.canvas.clientHeight - 2 * PAD;
    return [PAD + (((state.x[i] - x0) / (x1 - x0)) * wide) * k + x, PAD + (1 - (state.y[i] - y0) / (y1 - y0)) * tall * k + y];
  }

  function colourOf(state, i) {
    const key = state.key, v = key.values[i];
    if (Number.isNaN(v)) return "#c9c7c0";
    return key.kind === "group" ? key.colours[v] : ramp((v - key.ramp.low) / (key.ramp.high - key.ramp.low || 1));
  }

  // Viridis (Smith & van der Walt), eight stops.
  const STOPS = [[68, 1, 84], [70, 50, 127], [54, 92, 141], [39, 127, 142], [31, 161, 135], [74, 194, 109], [159, 218, 58], [253, 231, 37]];
  function ramp(t) {
    const p = Math.min(Math.max(t, 0), 1) * (STOPS.length - 1), i = Math.min(p | 0, STOPS.length - 2);
    return "rgb(" + STOPS[i].map((c, k) => Math.round(c + (STOPS[i + 1][k] - c) * (p - i))).join(",") + ")";
  }

  function visible(state, i) {
    return !(state.key.kind === "group" && state.hidden.has(state.key.values[i]));
  }

  function paint(state) {
    const { canvas, rows } = state, ratio = Math.min(window.devicePixelRatio || 1, 2);
    canvas.width = canvas.clientWidth * ratio;
    canvas.height = canvas.clientHeight * ratio;
    const c = canvas.getContext("2d");
    c.scale(ratio, ratio);
    const any = state.chosen.includes(1), size = rows.length > 20000 ? 1.2 : rows.length > 3000 ? 2 : 3.2;
    for (let i = 0; i < rows.length; i++) {
      if (!visible(state, i)) continue;
      const [px, py] = project(state, i);
      c.globalAlpha = any && !state.chosen[i] ? 0.16 : 0.78;
      c.fillStyle = colourOf(state, i);
      c.beginPath();
      c.arc(px, py, size, 0, 6.3);
      c.fill();
    }
    c.globalAlpha = 1;
    labels(state, c);
    c.fillStyle = "#6b7785";
    c.font = "12px system-ui, sans-serif";
    c.fillText(state.plot.names[state.xName] || state.xName, canvas.clientWidth / 2 - 20, canvas.clientHeight - 5);
    c.save();
    c.translate(12, canvas.clientHeight / 2 + 20);
    c.rotate(-Math.PI / 2);
    c.fillText(state.plot.names[state.yName] || state.yName, 0, 0);
    c.restore();
    if (state.loop) outline(c, state.loop);
    canvas.dataset.points = String(rows.length);
  }

  // Names at the median of each group, so that colour is never the only key.
  function labels(state, c) {
    const key = state.key;
    if (key.kind !== "group" || key.names.length > 24) return;
    c.font = "600 14px system-ui, sans-serif";
    c.textAlign = "center";
    key.names.forEach((name, g) => {
      if (state.hidden.has(g)) return;
      const xs = [], ys = [];
      for (let i = 0; i < state.rows.length; i++) if (key.values[i] === g) { const p = project(state, i); xs.push(p[0]); ys.push(p[1]); }
      if (!xs.length) return;
      const at = [median(xs), median(ys)];
      c.lineWidth = 4;
      c.strokeStyle = "rgba(255,255,255,.9)";
      c.strokeText(key.short[g], at[0], at[1] + 4);
      c.fillStyle = "#1f2933";
      c.fillText(key.short[g], at[0], at[1] + 4);
    });
    c.textAlign = "start";
  }

  function median(values) { return values.sort((a, b) => a - b)[values.length >> 1]; }

  function outline(c, loop) {
    c.beginPath();
    loop.forEach(([x, y], i) => (i ? c.lineTo(x, y) : c.moveTo(x, y)));
    c.closePath();
    c.fillStyle = "rgba(31,41,51,.07)";
    c.fill();
    c.strokeStyle = "#1f2933";
    c.setLineDash([4, 3]);
    c.stroke();
    c.setLineDash([]);
  }

  function legend(state) {
    const key = state.key;
    state.legend.textContent = "";
    if (key.kind !== "group") {
      const bar = document.createElement("li");
      bar.className = "ramp";
      const low = document.createElement("span"), high = document.createElement("span"), strip = document.createElement("i");
      low.textContent = (key.packed.low < key.ramp.low ? "≤ " : "") + key.ramp.low.toPrecision(3);
      high.textContent = (key.packed.high > key.ramp.high ? "≥ " : "") + key.ramp.high.toPrecision(3);
      strip.style.background = "linear-gradient(90deg," + STOPS.map((s) => "rgb(" + s.join(",") + ")").join(",") + ")";
      bar.append(low, strip, high);
      state.legend.append(bar);
      return;
    }
    key.names.forEach((name, g) => {
      let count = 0;
      for (const v of key.values) if (v === g) count++;
      const item = document.createElement("li"), button = document.createElement("button"), dot = document.createElement("i");
      dot.style.background = key.colours[g];
      dot.className = "dot";
      button.type = "button";
      button.setAttribute("aria-pressed", "true");
      button.append(dot, name + " (" + count.toLocaleString("en") + ")");
      button.addEventListener("click", () => {
        if (state.hidden.has(g)) state.hidden.delete(g); else state.hidden.add(g);
        button.setAttribute("aria-pressed", String(!state.hidden.has(g)));
        paint(state);
      });
      item.append(button);
      state.legend.append(item);
    });
  }

  function mouse(state) {
    const { canvas } = state;
    const here = (e) => { const r = canvas.getBoundingClientRect(); return [e.clientX - r.left, e.clientY - r.top]; };
    let from = null;
    canvas.addEventListener("pointerdown", (e) => {
      canvas.setPointerCapture(e.pointerId);
      from = here(e);
      if (!e.shiftKey) state.loop = [from];
    });
    canvas.addEventListener("pointermove", (e) => {
      const at = here(e);
      if (!from) { hover(state, at); return; }
      if (state.loop) state.loop.push(at);
      else { state.view.x += at[0] - from[0]; state.view.y += at[1] - from[1]; from = at; }
      paint(state);
    });
    canvas.addEventListener("pointerup", (e) => {
      if (state.loop && state.loop.length > 4) enclose(state, e.altKey);
      from = state.loop = null;
      paint(state);
    });
    canvas.addEventListener("pointercancel", () => { from = state.loop = null; paint(state); });
    canvas.addEventListener("pointerleave", () => { state.tip.hidden = true; });
    canvas.addEventListener("dblclick", () => { state.view = { x: 0, y: 0, k: 1 }; paint(state); });
    canvas.addEventListener("wheel", (e) => {
      if (!(e.ctrlKey || e.metaKey)) return;
      e.preventDefault();
      const at = here(e), k = Math.min(Math.max(state.view.k * Math.exp(-e.deltaY * 0.002), 1), 60), f = k / state.view.k;
      state.view = { x: at[0] - PAD - (at[0] - PAD - state.view.x) * f, y: at[1] - PAD - (at[1] - PAD - state.view.y) * f, k };
      paint(state);
    }, { passive: false });
  }

  function enclose(state, remove) {
    for (let i = 0; i < state.rows.length; i++)
      if (visible(state, i) && within(project(state, i), state.loop)) state.chosen[i] = remove ? 0 : 1;
    tell(state);
  }

  // Even-odd rule.
  function within([x, y], loop) {
    let inside = false;
    for (let i = 0, j = loop.length - 1; i < loop.length; j = i++) {
      const [xi, yi] = loop[i], [xj, yj] = loop[j];
      if (yi > y !== yj > y && x < ((xj - xi) * (y - yi)) / (yj - yi) + xi) inside = !inside;
    }
    return inside;
  }

  function hover(state, at) {
    let best = -1, near = 64;
    for (let i = 0; i < state.rows.length; i++) {
      if (!visible(state, i)) continue;
      const p = project(state, i), d = (p[0] - at[0]) ** 2 + (p[1] - at[1]) ** 2;
      if (d < near) { near = d; best = i; }
    }
    state.tip.hidden = best < 0;
    if (best < 0) return;
    const parts = [state.uids[state.rows[best]]];
    for (const key of Object.values(state.plot.colours)) {
      if (!key.values) key.values = numbers(key.packed);
      const v = key.values[best];
      if (!Number.isNaN(v)) parts.push(key.title + ": " + (key.kind === "group" ? key.names[v] : v.toPrecision(3)));
    }
    state.tip.textContent = parts.join("\n");
    state.tip.style.left = Math.min(at[0] + 14, state.canvas.clientWidth - 190) + "px";
    state.tip.style.top = at[1] + 14 + "px";
  }

  function tell(state) {
    const chosen = state.chosen.reduce((a, b) => a + b, 0), told = state.box.querySelector(".told");
    state.box.querySelector(".save").disabled = state.box.querySelector(".clear").disabled = !chosen;
    state.box.dataset.chosen = String(chosen);
    if (!chosen) { told.textContent = "Drag a loop around particles to choose them."; return; }
    const key = state.plot.colours.cluster, counts = {};
    if (key && !key.values) key.values = numbers(key.packed);
    if (key) state.chosen.forEach((c, i) => { if (c) counts[key.short[key.values[i]]] = (counts[key.short[key.values[i]]] || 0) + 1; });
    const by = Object.entries(counts).map(([name, n]) => name + ": " + n).join(", ");
    told.textContent = chosen.toLocaleString("en") + " particles chosen" + (by ? " (by cluster " + by + ")" : "") + ".";
  }

  function save(state) {
    const lines = [];
    state.chosen.forEach((c, i) => { if (c) lines.push(state.uids[state.rows[i]]); });
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([lines.join("\n") + "\n"], { type: "text/plain" }));
    link.download = state.plot.branch + "_selection.txt";
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 1000);
  }

  window.addEventListener("DOMContentLoaded", () => document.querySelectorAll(".scatter").forEach(start));
})();
