// A frame under the grid of its patches: click a patch, or move from patch to patch with the arrow keys.
const STEPS = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] };

function element(parent, name, style = {}) {
  const made = parent.appendChild(document.createElement(name));
  Object.assign(made.style, style);
  return made;
}

function render({ model, el }) {
  const [h, w] = model.get("grid");
  const whole = { position: "absolute", inset: "0", width: "100%", height: "100%" };
  const row = element(el, "div", { display: "flex", alignItems: "flex-start", margin: "2px" });
  const label = element(row, "div", { width: "140px", textAlign: "right", marginRight: "8px", flexShrink: "0" });
  const column = element(row, "div");
  const box = element(column, "div", { position: "relative", width: "256px", height: `${(256 * h) / w}px`,
    cursor: "crosshair" });
  const picture = element(box, "img", { ...whole, imageRendering: "pixelated" });
  const line = "rgba(128, 128, 128, 0.55) 1px, transparent 1px";
  element(box, "div", { ...whole, backgroundImage: `linear-gradient(${line}), linear-gradient(90deg, ${line})`,
    backgroundSize: `${256 / w}px ${256 / w}px` });
  const mark = element(box, "div", { position: "absolute", boxSizing: "border-box", border: "2px solid black",
    outline: "2px solid white", width: `${100 / w}%`, height: `${100 / h}%` });
  const written = element(column, "div", { fontSize: "12px" });
  row.style.color = "var(--jp-ui-font-color1, inherit)";
  row.style.fontFamily = "var(--jp-ui-font-family, inherit)";
  label.style.fontSize = "var(--jp-widgets-font-size, 13px)";
  label.textContent = model.get("description");
  picture.draggable = false;
  box.tabIndex = 0;
  box.dataset.lmSuppressShortcuts = "true"; // else arrow keys move from cell to cell in JupyterLab
  box.setAttribute("role", "slider");
  box.setAttribute("aria-label", model.get("description"));
  box.setAttribute("aria-valuemin", 1);
  box.setAttribute("aria-valuemax", h * w);

  const place = () => {
    const [r, c] = [Math.floor((model.get("value") - 1) / w), (model.get("value") - 1) % w];
    Object.assign(mark.style, { top: `${(100 * r) / h}%`, left: `${(100 * c) / w}%` });
    written.textContent = `row ${r} of 0 to ${h - 1}, column ${c} of 0 to ${w - 1}`;
    box.setAttribute("aria-valuenow", model.get("value"));
    box.setAttribute("aria-valuetext", `row ${r}, column ${c}`);
  };
  const show = () => {
    URL.revokeObjectURL(picture.src);
    picture.src = URL.createObjectURL(new Blob([model.get("frame")], { type: "image/png" }));
    picture.alt = model.get("alt");
  };
  const choose = (r, c) => {
    const inside = [Math.min(Math.max(r, 0), h - 1), Math.min(Math.max(c, 0), w - 1)];
    model.set("value", 1 + inside[0] * w + inside[1]);
    model.save_changes();
  };
  box.addEventListener("click", (event) => {
    const { left, top, width, height } = box.getBoundingClientRect();
    box.focus();
    choose(Math.floor(((event.clientY - top) / height) * h), Math.floor(((event.clientX - left) / width) * w));
  });
  box.addEventListener("keydown", (event) => {
    const step = STEPS[event.key];
    if (!step) return;
    event.preventDefault();
    event.stopPropagation();
    choose(Math.floor((model.get("value") - 1) / w) + step[0], ((model.get("value") - 1) % w) + step[1]);
  });
  model.on("change:value", place);
  model.on("change:frame", show);
  place();
  show();
  return () => {
    model.off("change:value", place);
    model.off("change:frame", show);
    URL.revokeObjectURL(picture.src);
  };
}

export default { render };
