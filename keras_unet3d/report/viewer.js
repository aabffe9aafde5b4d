"use strict";
// The slice viewer of a page: three planes through a volume, linked, with what was labelled and predicted painted over it.
(async function () {
  const { scenes, classes, background, colours, differences, over } = JSON.parse(document.getElementById("scenes").textContent);
  const AXES = ["z", "y", "x"], NOTHING = 255;
  const section = document.getElementById("viewer"), planes = document.getElementById("planes");
  const key = document.getElementById("key"), opacity = document.getElementById("opacity");
  const rgb = (text) => [1, 3, 5].map((at) => parseInt(text.slice(at, at + 2), 16));
  const palette = colours.map(rgb), differing = differences.map(rgb), SURE = [213, 94, 0];
  const hidden = new Set(background === null ? [] : [background]);
  const state = { scene: null, at: [0, 0, 0], over, before: "image" };

  async function unpacked(text) {
    if (text === null) return null;
    const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
    return new Uint8Array(await new Response(stream).arrayBuffer());
  }

  async function opened(packed) {
    const open = async (side) => ({ name: side.name, classes: await unpacked(side.classes), uncertainty: await unpacked(side.uncertainty), objects: await unpacked(side.objects) });
    return { ...packed, image: await unpacked(packed.image), labels: await unpacked(packed.labels), objects: await unpacked(packed.objects), sides: await Promise.all(packed.sides.map(open)) };
  }

  // What may lie over the image: a name, whether a scene has it, and the colour of a voxel and how much of it there is.
  const ofClass = (number) => (number === NOTHING || hidden.has(number) ? null : [palette[number % palette.length], 1]);
  const ofObject = (number) => (number ? [palette[number], 1] : null);
  const OVER = {
    image: { name: "Image", has: () => true, paint: () => null },
    labels: { name: "Labels", has: (s) => s.labels, paint: (s, side, at) => ofClass(s.labels[at]) },
    prediction: { name: "Prediction", has: () => true, paint: (s, side, at) => ofClass(side.classes[at]) },
    difference: { name: "Difference", has: (s) => s.labels, paint: (s, side, at) => { const kind = different(s.labels[at], side.classes[at]); return kind === null ? null : [differing[kind], 1]; } },
    uncertainty: { name: "Uncertainty", has: (s) => s.sides.some((side) => side.uncertainty), paint: (s, side, at) => side.uncertainty && [SURE, side.uncertainty[at] / 255] },
    objects: { name: "Objects", has: (s) => s.sides.some((side) => side.objects), paint: (s, side, at) => side.objects && ofObject(side.objects[at]) },
    truth: { name: "Labelled objects", has: (s) => s.objects, paint: (s, side, at) => ofObject(s.objects[at]) },
  };
  const possible = () => Object.keys(OVER).filter((name) => OVER[name].has(state.scene));

  function different(label, predicted) {
    if (label === NOTHING || label === predicted) return null;
    return predicted === background ? 0 : label === background ? 1 : 2;
  }

  // Of a plane across an axis: the axes that run down and to the right, and the place of a voxel in the arrays.
  const DOWN = [1, 0, 0], RIGHT = [2, 2, 1];
  function place(at) { const [, y, x] = state.scene.shape; return (at[0] * y + at[1]) * x + at[2]; }

  function draw() {
    const { shape } = state.scene, strength = opacity.value / 100, over = OVER[state.over];
    for (const plane of planes.children) {
      const axis = Number(plane.dataset.axis), down = DOWN[axis], right = RIGHT[axis];
      plane.querySelectorAll("canvas").forEach((canvas, number) => {
        const side = state.scene.sides[number], context = canvas.getContext("2d");
        const picture = context.createImageData(shape[right], shape[down]), at = [...state.at];
        let byte = 0;
        for (at[down] = 0; at[down] < shape[down]; at[down]++) {
          for (at[right] = 0; at[right] < shape[right]; at[right]++) {
            const voxel = place(at), grey = state.scene.image[voxel], painted = over.paint(state.scene, side, voxel);
            const share = painted ? painted[1] * strength : 0;
            for (let colour = 0; colour < 3; colour++) picture.data[byte++] = painted ? share * painted[0][colour] + (1 - share) * grey : grey;
            picture.data[byte++] = 255;
          }
        }
        context.putImageData(picture, 0, 0);
      });
      plane.querySelectorAll(".v").forEach((line) => { line.style.left = 100 * (state.at[right] + 0.5) / shape[right] + "%"; });
      plane.querySelectorAll(".h").forEach((line) => { line.style.top = 100 * (state.at[down] + 0.5) / shape[down] + "%"; });
      const slider = plane.querySelector("input");
      slider.value = state.at[axis];
      plane.querySelector("output").textContent = `${AXES[axis]} ${state.at[axis] * state.scene.step[axis]}`;
    }
    describe();
  }

  function describe() {
    const scene = state.scene, voxel = place(state.at), named = (number) => (number === NOTHING ? "nothing" : classes[number]);
    const parts = [`voxel z ${state.at[0] * scene.step[0]}, y ${state.at[1] * scene.step[1]}, x ${state.at[2] * scene.step[2]}`];
    if (scene.labels) parts.push(`labelled: ${named(scene.labels[voxel])}`);
    for (const side of scene.sides) {
      const unsure = side.uncertainty ? `, uncertainty ${(side.uncertainty[voxel] / 255).toFixed(2)}` : "";
      parts.push(`${scene.sides.length > 1 ? side.name : "predicted"}: ${named(side.classes[voxel])}${unsure}`);
    }
    document.getElementById("voxel").textContent = parts.join(" · ");
  }

  function element(name, properties = {}, ...children) {
    const made = Object.assign(document.createElement(name), properties);
    made.append(...children);
    return made;
  }

  function layOut() {
    const { shape, spacing, sides, name } = state.scene, size = shape.map((count, axis) => count * spacing[axis]);
    planes.style.gridTemplateColumns = RIGHT.map((axis) => `minmax(0, ${size[axis]}fr)`).join(" ");
    planes.replaceChildren(...AXES.map((letter, axis) => {
      const down = DOWN[axis], right = RIGHT[axis];
      const plane = element("div", { className: "plane" });
      plane.dataset.axis = axis;
      for (const side of sides) {
        if (sides.length > 1) plane.append(element("h4", { textContent: side.name }));
        const canvas = element("canvas", { width: shape[right], height: shape[down] });
        canvas.setAttribute("aria-label", `plane across ${letter}`);
        canvas.style.aspectRatio = `${size[right]} / ${size[down]}`;
        const cut = element("div", { className: "cut" }, canvas, element("i", { className: "v" }), element("i", { className: "h" }));
        const go = (event) => {
          const box = canvas.getBoundingClientRect();
          move(right, Math.floor((event.clientX - box.left) / box.width * shape[right]), false);
          move(down, Math.floor((event.clientY - box.top) / box.height * shape[down]));
        };
        cut.addEventListener("pointerdown", (event) => { section.focus({ preventScroll: true }); go(event); });
        cut.addEventListener("pointermove", (event) => { if (event.buttons === 1) go(event); });
        plane.append(cut);
      }
      const slider = element("input", { type: "range", min: 0, max: shape[axis] - 1, id: `slider-${letter}` });
      slider.setAttribute("aria-label", `plane across ${letter}`);
      slider.addEventListener("input", () => move(axis, Number(slider.value)));
      plane.append(element("label", {}, slider, element("output")));
      return plane;
    }));
    section.querySelectorAll(".note").forEach((note) => { note.hidden = scenes[note.dataset.scene].name !== name; });
  }

  function move(axis, to, redraw = true) {
    state.at[axis] = Math.min(Math.max(to, 0), state.scene.shape[axis] - 1);
    if (redraw) draw();
  }

  function choose(name) {
    if (state.over !== name) state.before = state.over;
    state.over = name;
    document.getElementById("over").replaceChildren(...possible().map((other, number) => {
      const button = element("button", { type: "button", textContent: OVER[other].name, title: `key ${number}` });
      button.setAttribute("role", "radio");
      button.setAttribute("aria-checked", other === name);
      button.addEventListener("click", () => choose(other));
      return button;
    }));
    legend();
    draw();
  }

  function legend() {
    const swatch = (colour) => { const made = element("i"); made.style.background = colour; return made; };
    if (state.over === "labels" || state.over === "prediction") {
      key.replaceChildren(...classes.map((name, number) => {
        const box = element("input", { type: "checkbox", checked: !hidden.has(number) });
        box.addEventListener("change", () => { box.checked ? hidden.delete(number) : hidden.add(number); draw(); });
        return element("li", {}, element("label", {}, box, swatch(colours[number % colours.length]), name));
      }));
    } else if (state.over === "difference") {
      const words = background === null ? [null, null, "another class"] : ["missing: background was predicted", "too much: background was labelled", "another class"];
      key.replaceChildren(...words.flatMap((word, number) => (word ? [element("li", {}, swatch(differences[number]), word)] : [])));
    } else if (state.over === "uncertainty") {
      const ramp = swatch("linear-gradient(to right, #000, #d55e00)");
      ramp.className = "ramp";
      key.replaceChildren(element("li", {}, "sure", ramp, "no idea"));
    } else {
      key.replaceChildren(element("li", {}, state.over === "image" ? "the image alone" : "every object in one of seven colours"));
    }
  }

  // Where the most is to be seen: the plane across each axis with most that is neither background nor unlabelled.
  function fullest(scene) {
    const [depth, height, width] = scene.shape, seen = [depth, height, width].map((count) => new Uint32Array(count));
    const from = scene.labels && scene.labels.some((value) => value !== NOTHING && value !== background) ? scene.labels : scene.sides[0].classes;
    for (let z = 0, voxel = 0; z < depth; z++) for (let y = 0; y < height; y++) for (let x = 0; x < width; x++, voxel++) {
      if (from[voxel] !== NOTHING && from[voxel] !== background) { seen[0][z]++; seen[1][y]++; seen[2][x]++; }
    }
    return seen.map((counts) => counts.indexOf(Math.max(...counts)));
  }

  async function show(number) {
    state.scene = await opened(scenes[number]);
    state.at = state.scene.start || fullest(state.scene);
    layOut();
    choose(possible().includes(state.over) ? state.over : "prediction");
    section.dataset.ready = "true";
  }

  const KEYS = { ArrowUp: [0, 1], ArrowDown: [0, -1], PageUp: [1, 1], PageDown: [1, -1], ArrowRight: [2, 1], ArrowLeft: [2, -1] };
  section.addEventListener("keydown", (event) => {
    // Fields have keys of their own.
    if (event.ctrlKey || event.metaKey || event.altKey || /^(INPUT|SELECT)$/.test(event.target.tagName)) return;
    const name = possible()[Number(event.key)];
    if (KEYS[event.key]) move(KEYS[event.key][0], state.at[KEYS[event.key][0]] + KEYS[event.key][1]);
    else if (event.key === " " && event.target.tagName !== "BUTTON") choose(state.over === "image" ? state.before : "image");
    else if (/^[0-9]$/.test(event.key) && name) choose(name);
    else if (/^[+=-]$/.test(event.key)) { opacity.value = Number(opacity.value) + (event.key === "-" ? -10 : 10); draw(); }
    else return;
    event.preventDefault();
  });
  // The slices of a table that are to be seen here.
  for (const button of document.querySelectorAll("[data-at]")) {
    button.addEventListener("click", () => { state.at = JSON.parse(button.dataset.at); draw(); section.scrollIntoView({ behavior: "smooth" }); });
  }
  opacity.addEventListener("input", draw);
  document.getElementById("volume").addEventListener("change", (event) => show(Number(event.target.value)));
  await show(0);
})();
