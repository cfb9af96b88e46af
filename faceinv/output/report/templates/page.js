"use strict";
(() => {
  const page = JSON.parse(document.getElementById("page").textContent);
  const one = (selector, within = document) => within.querySelector(selector);
  const all = (selector, within = document) => [...within.querySelectorAll(selector)];

  /* What is packed in the page: gzip, base64. */
  async function inflated(id) {
    if (typeof DecompressionStream === "undefined") throw new Error("this browser is too old to unpack it");
    const text = atob(document.getElementById(id).textContent);
    const bytes = new Uint8Array(text.length);
    for (let i = 0; i < text.length; i++) bytes[i] = text.charCodeAt(i);
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
    return new Response(stream).arrayBuffer();
  }

  const KINDS = { u1: Uint8Array, u2: Uint16Array, u4: Uint32Array, i2: Int16Array, f4: Float32Array };

  /* Arrays by name. Those of columns are running sums of what is stored, and wrap around as their type does. */
  function unpacked(buffer, index) {
    const arrays = {};
    let offset = 0;
    for (const [name, kind, count, run] of index) {
      const array = new KINDS[kind](buffer, offset, count);
      for (let start = 0; run && start < count; start += run)
        for (let i = start + 1; i < start + run; i++) array[i] += array[i - 1];
      arrays[name] = array;
      offset += Math.ceil((count * array.BYTES_PER_ELEMENT) / 4) * 4;
    }
    return arrays;
  }

  function comparePictures() {
    const stage = one("#compare");
    if (!stage) return;
    const range = one("input[type=range]", stage), after = one(".after", stage), marks = one(".marks", stage);
    one(".before", stage).src = one("#picture-photo").src;
    const choose = (radio) => {
      const shown = one("#picture-" + radio.value);
      after.src = shown.src;
      after.alt = shown.alt;
      one("[data-tag]", stage).textContent = radio.value;
    };
    const move = () => stage.style.setProperty("--at", range.value + "%");
    range.addEventListener("input", move);
    for (const radio of all("input[name=beside]")) radio.addEventListener("change", () => choose(radio));
    const mark = () => [marks, one("#keys")].forEach((part) => part.toggleAttribute("hidden", !one("#landmarks").checked));
    one("#landmarks").addEventListener("change", mark);
    mark();  // browsers keep what was ticked
    choose(one("input[name=beside]:checked"));
    move();
  }

  const VERTEX = `
    attribute vec3 albedo;
    attribute float deviation;
    varying vec3 vAlbedo, vNormal, vSeen;
    varying vec2 vUv;
    varying float vDeviation;
    void main() {
      vAlbedo = albedo;
      vDeviation = deviation;
      vUv = uv;
      vNormal = normal;
      vSeen = normalMatrix * normal;
      gl_Position = projectionMatrix * modelViewMatrix * vec4(position, 1.0);
    }`;
  const FRAGMENT = `
    uniform int mode;
    uniform sampler2D skin;
    uniform vec3 light[9];
    uniform mat3 toCamera;
    uniform vec3 heat[6];
    uniform bool linearAlbedo;
    varying vec3 vAlbedo, vNormal, vSeen;
    varying vec2 vUv;
    varying float vDeviation;
    vec3 toLinear(vec3 c) { return mix(c / 12.92, pow((c + 0.055) / 1.055, vec3(2.4)), step(0.04045, c)); }
    vec3 toSrgb(vec3 c) {
      c = clamp(c, 0.0, 1.0);
      return mix(c * 12.92, 1.055 * pow(c, vec3(1.0 / 2.4)) - 0.055, step(0.0031308, c));
    }
    vec3 lit(vec3 n) {
      return light[0] + light[1] * n.y + light[2] * n.z + light[3] * n.x + light[4] * n.x * n.y + light[5] * n.y * n.z
        + light[6] * (3.0 * n.z * n.z - 1.0) + light[7] * n.x * n.z + light[8] * (n.x * n.x - n.y * n.y);
    }
    vec3 clay(vec3 n) {
      vec3 key = normalize(vec3(-0.45, 0.55, 0.70));
      float shine = 0.05 * pow(max(dot(n, normalize(key + vec3(0.0, 0.0, 1.0))), 0.0), 24.0);
      float bright = 0.16 + 0.10 * max(n.y, 0.0) + 0.62 * max(dot(n, key), 0.0)
        + 0.12 * max(dot(n, vec3(0.8, 0.1, 0.55)), 0.0);
      return toSrgb(bright * vec3(0.80, 0.78, 0.76) + shine);
    }
    vec3 hot(float t) {
      t = clamp(t, 0.0, 1.0) * 5.0;
      vec3 colour = heat[0];
      for (int k = 0; k < 5; k++) colour = mix(colour, heat[k + 1], clamp(t - float(k), 0.0, 1.0));
      return colour;
    }
    void main() {
      float side = gl_FrontFacing ? 1.0 : -1.0;
      vec3 n = normalize(vSeen) * side;
      vec3 colour;
      if (mode == 0) colour = texture2D(skin, vUv).rgb;
      else if (mode == 1) colour = vAlbedo;
      else if (mode == 2) {
        vec3 shade = max(lit(normalize(toCamera * vNormal) * side), 0.0);
        colour = linearAlbedo ? toSrgb(toLinear(vAlbedo) * shade) : clamp(vAlbedo * shade, 0.0, 1.0);
      }
      else if (mode == 3) colour = clay(n);
      else if (mode == 4) colour = 0.5 * n + 0.5;
      else colour = hot(vDeviation) * (0.72 + 0.28 * n.z);
      gl_FragColor = vec4(colour, 1.0);
    }`;
  const MODES = ["photo", "albedo", "light", "shape", "normals", "uncertainty"];

  /* The surface: rest + sum of units, moved here, since a list of the vertices that each unit moves is short. */
  function surface(own, shared, info) {
    const count = own.place.length / 3, corners = shared.vertex.length, index = shared.index;
    const rest = new Float32Array(3 * count), moved = new Float32Array(3 * count), normals = new Float32Array(3 * count);
    for (let c = 0; c < 3; c++)
      for (let i = 0; i < count; i++) rest[3 * i + c] = info.low[c] + (own.place[c * count + i] / 65535) * info.size[c];
    const position = new Float32Array(3 * corners), normal = new Float32Array(3 * corners);
    const albedo = new Uint8Array(3 * corners), deviation = new Uint8Array(corners), uv = new Float32Array(2 * corners);
    for (let k = 0; k < corners; k++) {
      const v = shared.vertex[k];
      for (let c = 0; c < 3; c++) albedo[3 * k + c] = own.albedo[c * count + v];
      if (own.deviation) deviation[k] = own.deviation[v];
      uv[2 * k] = shared.uv[k] / 65535;
      uv[2 * k + 1] = shared.uv[corners + k] / 65535;
    }
    const triangles = new Uint32Array(index.length);
    for (let k = 0; k < index.length; k++) triangles[k] = shared.vertex[index[k]];
    const total = shared.which.length;

    function pose(values) {
      moved.set(rest);
      for (let u = 0, start = 0; u < values.length; start += shared.moved[u], u++) {
        const factor = values[u] * info.step;
        if (!factor) continue;
        for (let s = start; s < start + shared.moved[u]; s++) {
          const at = 3 * shared.which[s];
          moved[at] += factor * shared.moves[s];
          moved[at + 1] += factor * shared.moves[total + s];
          moved[at + 2] += factor * shared.moves[2 * total + s];
        }
      }
      normals.fill(0);
      for (let t = 0; t < triangles.length; t += 3) {
        const a = 3 * triangles[t], b = 3 * triangles[t + 1], c = 3 * triangles[t + 2];
        const ux = moved[b] - moved[a], uy = moved[b + 1] - moved[a + 1], uz = moved[b + 2] - moved[a + 2];
        const vx = moved[c] - moved[a], vy = moved[c + 1] - moved[a + 1], vz = moved[c + 2] - moved[a + 2];
        const nx = uy * vz - uz * vy, ny = uz * vx - ux * vz, nz = ux * vy - uy * vx;
        for (const at of [a, b, c]) { normals[at] += nx; normals[at + 1] += ny; normals[at + 2] += nz; }
      }
      for (let k = 0; k < corners; k++) {
        const from = 3 * shared.vertex[k], to = 3 * k;
        const length = Math.hypot(normals[from], normals[from + 1], normals[from + 2]) || 1;
        for (let c = 0; c < 3; c++) {
          position[to + c] = moved[from + c] - info.pivot[c];
          normal[to + c] = normals[from + c] / length;
        }
      }
    }
    return { position, normal, albedo, deviation, uv, index, triangles, pose };
  }

  function edges(skin) {
    const seen = new Set(), lines = [];
    for (let t = 0; t < skin.index.length; t += 3)
      for (let k = 0; k < 3; k++) {
        const a = skin.index[t + k], b = skin.index[t + ((k + 1) % 3)], key = Math.min(a, b) * 4194304 + Math.max(a, b);
        if (!seen.has(key)) { seen.add(key); lines.push(a, b); }
      }
    return new Uint32Array(lines);
  }

  async function showHead() {
    const stage = one("#view"), canvas = one("canvas", stage);
    const script = document.createElement("script");
    script.textContent = new TextDecoder().decode(await inflated("three"));
    document.head.append(script);
    const shared = unpacked(await inflated("model-arrays"), page.modelArrays);
    const own = unpacked(await inflated("face-arrays"), page.faceArrays);
    const head = surface(own, shared, page.mesh);
    if (!canvas.getContext("webgl2", { antialias: true })) throw new Error("this browser draws no 3D (WebGL 2)");
    const renderer = new THREE.WebGLRenderer({ canvas, context: canvas.getContext("webgl2"), antialias: true });
    renderer.setClearColor(0, 0);
    const texture = page.skin ? await new THREE.TextureLoader().loadAsync(page.skin) : new THREE.Texture();
    texture.anisotropy = renderer.capabilities.getMaxAnisotropy();
    const geometry = new THREE.BufferGeometry();
    geometry.setIndex(new THREE.BufferAttribute(head.index, 1));
    geometry.setAttribute("position", new THREE.BufferAttribute(head.position, 3));
    geometry.setAttribute("normal", new THREE.BufferAttribute(head.normal, 3));
    geometry.setAttribute("albedo", new THREE.BufferAttribute(head.albedo, 3, true));
    geometry.setAttribute("deviation", new THREE.BufferAttribute(head.deviation, 1, true));
    geometry.setAttribute("uv", new THREE.BufferAttribute(head.uv, 2));
    const r = page.mesh.rotation;
    const uniforms = {
      mode: { value: 0 },
      skin: { value: texture },
      light: { value: page.mesh.light.map((row) => new THREE.Vector3(...row)) },
      toCamera: { value: new THREE.Matrix3().set(...r[0], ...r[1], ...r[2]) },
      heat: { value: page.heat.map((row) => new THREE.Vector3(...row)) },
      linearAlbedo: { value: page.mesh.linear },
    };
    const material = new THREE.ShaderMaterial({
      uniforms, vertexShader: VERTEX, fragmentShader: FRAGMENT, side: THREE.DoubleSide,
      polygonOffset: true, polygonOffsetFactor: 1, polygonOffsetUnits: 1,
    });
    const turned = new THREE.Group(), scene = new THREE.Scene();
    const mesh = new THREE.Mesh(geometry, material);
    mesh.frustumCulled = false;
    turned.add(mesh);
    scene.add(turned);
    const asInPhoto = new THREE.Quaternion().setFromRotationMatrix(
      new THREE.Matrix4().set(...r[0], 0, ...r[1], 0, ...r[2], 0, 0, 0, 0, 1));
    const camera = new THREE.PerspectiveCamera(20, 1, 10, 10000);
    const state = { base: asInPhoto, yaw: 0, pitch: 0, zoom: 1 };
    const values = page.units.map((unit) => unit.value);
    let posed = false, waiting = false, wires = null;

    function draw() {
      waiting = false;
      if (!posed) {
        head.pose(values);
        geometry.attributes.position.needsUpdate = geometry.attributes.normal.needsUpdate = true;
        posed = true;
      }
      const about = (axis, angle) => new THREE.Quaternion().setFromAxisAngle(axis, angle);
      turned.quaternion.copy(about(new THREE.Vector3(1, 0, 0), state.pitch))
        .multiply(about(new THREE.Vector3(0, 1, 0), state.yaw)).multiply(state.base);
      camera.position.set(0, 0, page.mesh.reach / Math.tan((camera.fov * Math.PI) / 360) / state.zoom);
      camera.updateProjectionMatrix();
      renderer.render(scene, camera);
    }
    const redraw = () => { if (!waiting) { waiting = true; requestAnimationFrame(draw); } };
    const turn = (yaw, pitch) => {
      state.yaw += yaw;
      state.pitch = Math.max(-1.5, Math.min(1.5, state.pitch + pitch));
      redraw();
    };
    const zoom = (factor) => { state.zoom = Math.max(0.4, Math.min(8, state.zoom * factor)); redraw(); };

    let held = null;
    canvas.addEventListener("pointerdown", (event) => {
      held = [event.clientX, event.clientY];
      canvas.setPointerCapture(event.pointerId);
    });
    canvas.addEventListener("pointermove", (event) => {
      if (!held) return;
      turn((event.clientX - held[0]) * 0.01, (event.clientY - held[1]) * 0.01);
      held = [event.clientX, event.clientY];
    });
    for (const end of ["pointerup", "pointercancel"]) canvas.addEventListener(end, () => { held = null; });
    canvas.addEventListener("wheel", (event) => {
      // A page that is scrolled over the head scrolls on, unless the head was chosen before.
      if (!event.ctrlKey && document.activeElement !== canvas) return;
      event.preventDefault();
      zoom(Math.exp(-event.deltaY * 0.001));
    }, { passive: false });
    const keys = { ArrowLeft: [-0.1, 0], ArrowRight: [0.1, 0], ArrowUp: [0, -0.1], ArrowDown: [0, 0.1] };
    canvas.addEventListener("keydown", (event) => {
      if (keys[event.key]) turn(...keys[event.key]);
      else if (event.key === "+" || event.key === "=") zoom(1.1);
      else if (event.key === "-") zoom(1 / 1.1);
      else return;
      event.preventDefault();
    });
    const views = { photo: [asInPhoto, 0], front: [new THREE.Quaternion(), 0], left: [new THREE.Quaternion(), -0.7], right: [new THREE.Quaternion(), 0.7] };
    for (const button of all("[data-turn]"))
      button.addEventListener("click", () => {
        [state.base, state.yaw] = views[button.dataset.turn];
        state.pitch = 0;
        redraw();
      });
    for (const button of all("[data-zoom]")) button.addEventListener("click", () => zoom(Number(button.dataset.zoom)));

    const choose = (radio) => {
      uniforms.mode.value = MODES.indexOf(radio.value);
      one("#explain").textContent = page.explain[radio.value];
      const scale = one("#scale");
      if (scale) scale.toggleAttribute("hidden", radio.value !== "uncertainty");
      redraw();
    };
    for (const radio of all("input[name=mode]")) radio.addEventListener("change", () => choose(radio));
    const wire = (wanted) => {
      if (wanted && !wires) {
        const lines = new THREE.BufferGeometry();
        lines.setIndex(new THREE.BufferAttribute(edges(head), 1));
        lines.setAttribute("position", geometry.attributes.position);
        wires = new THREE.LineSegments(lines, new THREE.LineBasicMaterial({ color: 0x101418, transparent: true, opacity: 0.3 }));
        wires.frustumCulled = false;
        turned.add(wires);
      }
      if (wires) wires.visible = wanted;
      redraw();
    };
    one("#mesh").addEventListener("change", (event) => wire(event.target.checked));

    const sliders = all("[data-unit]");
    const set = (slider, value) => {
      values[slider.dataset.unit] = value;
      slider.nextElementSibling.textContent = value.toFixed(2).replace(/^-(0\.00)$/, "$1");
      posed = false;
      redraw();
    };
    for (const slider of sliders) slider.addEventListener("input", () => set(slider, Number(slider.value)));
    const preset = (name) => {
      for (const slider of sliders) {
        const unit = page.units[slider.dataset.unit], wanted = page.presets[name];
        const value = wanted === null ? unit.value : wanted[unit.name] || 0;
        slider.value = value;
        set(slider, value);
      }
    };
    for (const button of all("[data-preset]")) button.addEventListener("click", () => preset(button.dataset.preset));
    const filter = one("#filter");
    if (filter)
      filter.addEventListener("input", () => {
        const wanted = filter.value.trim().toLowerCase();
        for (const slider of sliders)
          slider.parentElement.classList.toggle("away", !page.units[slider.dataset.unit].name.toLowerCase().includes(wanted));
      });
    for (const slider of sliders) set(slider, Number(slider.value));  // browsers keep where sliders were

    new ResizeObserver(() => {
      renderer.setPixelRatio(Math.min(window.devicePixelRatio || 1, 2));
      renderer.setSize(stage.clientWidth, stage.clientHeight, false);
      draw();
    }).observe(stage);
    wire(one("#mesh").checked);
    choose(one("input[name=mode]:checked"));
    draw();
    one(".message", stage).remove();
    /* For whoever looks at the numbers in the browser's console. */
    window.faceinv = { geometry, values, state, redraw };
  }

  comparePictures();
  showHead().then(
    () => { document.documentElement.dataset.ready = "yes"; },
    (error) => {
      one("#view .message").textContent = "No 3D view: " + error.message + ".";
      document.documentElement.dataset.ready = "no";
    },
  );
})();
