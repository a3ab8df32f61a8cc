// What the test asks of the page.
window.probes = {
  // Distinct opaque colours of every surface; a blank canvas has none.
  colours() {
    return [...document.querySelectorAll("canvas.surface")].map((c) => {
      const d = c.getContext("2d").getImageData(0, 0, c.width, c.height).data, seen = new Set();
      for (let i = 0; i < d.length; i += 4) if (d[i + 3] > 250) seen.add(d[i] * 65536 + d[i + 1] * 256 + d[i + 2]);
      return seen.size;
    });
  },

  broken() {
    return [...document.querySelectorAll("svg.chart")].some((s) => /NaN|undefined|Infinity/.test(s.outerHTML));
  },

  // Volume, open edges and orientation of the surface of a map, and the volume of its voxels.
  surface(name) {
    const view = [...document.querySelectorAll("canvas.surface")].map((c) => c.view).find((v) => v.frames[0] === name);
    const mesh = [...view.meshes.values()][0], edges = new Map();
    const p = (i) => mesh.points.slice(3 * i, 3 * i + 3), n = (i) => mesh.normals.slice(3 * i, 3 * i + 3);
    const cross = (a, b) => [a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]];
    const dot = (a, b) => a[0] * b[0] + a[1] * b[1] + a[2] * b[2];
    const less = (a, b) => [0, 1, 2].map((i) => a[i] - b[i]);
    let volume = 0, outward = 0, open = 0, voxels = 0;
    for (let t = 0; t < mesh.corners.length; t += 3) {
      const [a, b, c] = mesh.corners.slice(t, t + 3), [u, v, w] = [p(a), p(b), p(c)];
      for (const [i, j] of [[a, b], [b, c], [c, a]]) edges.set(i + ">" + j, (edges.get(i + ">" + j) || 0) + 1);
      volume += dot(u, cross(v, w)) / 6;
      if (dot(cross(less(v, u), less(w, u)), n(a)) > 0) outward++;
    }
    edges.forEach((count, key) => { const [i, j] = key.split(">"); if (edges.get(j + ">" + i) !== count) open++; });
    const map = view.group.ready[name], level = view.group.level * view.group.factor;
    for (const value of map.data) if (value > (level - map.low) / map.scale) voxels++;
    return { volume, open, outward: outward / (mesh.corners.length / 3), solid: voxels * map.voxel ** 3 };
  },

  // Press the save button and keep what would be downloaded.
  save() {
    window.saved = null;
    const make = URL.createObjectURL;
    URL.createObjectURL = (blob) => { blob.text().then((t) => { window.saved = t; }); return make(blob); };
    HTMLAnchorElement.prototype.click = function () { window.savedAs = this.download; };
    document.querySelector(".scatter .save").click();
  },

  // Draw the latent plot with every pair of axes and every colour; sizes of the pictures.
  options() {
    const box = document.querySelector(".scatter"), sizes = [];
    for (const select of box.querySelectorAll("select"))
      for (const option of select.options) {
        select.value = option.value;
        select.dispatchEvent(new Event("change"));
        sizes.push(box.querySelector("canvas").toDataURL().length);
      }
    return sizes;
  },
};
