// What the page does beyond forms and links: keys on Review, dropping a photo, points on a photo, and telling what happened.
"use strict";
(() => {
  const say = (text) => {
    const said = document.getElementById("said");
    said.textContent = text;
    clearTimeout(say.timer);
    say.timer = setTimeout(() => { said.textContent = ""; }, 6000);
  };

  // a refusal is one line of text, or JSON with a detail
  document.addEventListener("htmx:responseError", (event) => {
    const text = event.detail.xhr.responseText;
    let line = text;
    try { line = JSON.parse(text).detail; } catch { /* it is text */ }
    say(line && line.length < 400 ? line : "That did not work. Try again.");
  });
  document.addEventListener("htmx:sendError", () => say("The service does not answer. Try again."));

  // Review: j and k move, a approves, r goes to the reason, h shows the heat map; never while one types
  const cards = () => [...document.querySelectorAll("[data-cards] [data-card]")];
  const current = () => document.activeElement.closest("[data-card]");
  document.addEventListener("keydown", (event) => {
    const typing = event.target.matches("input:not([type=radio]), textarea, select");
    if (typing && event.key === "Enter" && event.target.name === "reason") {
      event.preventDefault();
      event.target.closest("article").querySelector("[value=reject]")?.click();
      return;
    }
    if (typing && event.key === "Escape") { current()?.focus(); return; }
    if (typing || event.ctrlKey || event.altKey || event.metaKey || !cards().length) return;
    const all = cards();
    const place = all.indexOf(current());
    if (event.key === "j" || event.key === "k") {
      event.preventDefault();
      const next = place < 0 ? 0 : Math.min(Math.max(place + (event.key === "j" ? 1 : -1), 0), all.length - 1);
      all[next].focus();
    } else if (event.key === "a" || event.key === "r" || event.key === "h") {
      const card = place < 0 ? all[0] : all[place];
      event.preventDefault();
      if (event.key === "h") card.querySelector("[data-heat]")?.click();
      else if (event.key === "a") card.querySelector("[value=approve]")?.click();
      else {
        const reason = card.querySelector("[name=reason]");
        if (reason && reason.offsetParent) reason.focus();
        else card.focus();
      }
    }
  });
  document.addEventListener("click", (event) => {
    const button = event.target.closest("[data-heat][aria-pressed]");
    if (!button) return;
    const shown = button.getAttribute("aria-pressed") !== "true";
    button.setAttribute("aria-pressed", shown);
    for (const part of button.closest("[data-look]").querySelectorAll("[data-map]")) part.hidden = !shown;
  });
  document.addEventListener("htmx:afterSwap", (event) => {
    const answer = event.detail.elt;
    if (answer?.matches?.("[data-look]")) {
      const said = answer.querySelector(".reads ul");
      if (said) say(`Heat map. ${said.textContent}`);
      if (document.activeElement === document.body) answer.querySelector("[data-heat]")?.focus();
      return;
    }
    if (!answer?.matches?.("[data-answer]")) return;
    const title = answer.querySelector(".says, h3").textContent;
    say(`${answer.dataset.answer[0].toUpperCase()}${answer.dataset.answer.slice(1)}: ${title}`);
    const all = cards();
    (all.slice(all.indexOf(answer) + 1).find((one) => one.classList.contains("is-draft")) || answer).focus();
  });

  // Create: a photo may be dropped on its field, and is shown before it is sent
  const drop = document.querySelector("[data-drop]");
  if (drop) {
    const input = drop.querySelector("input[type=file]");
    const shown = drop.querySelector("img");
    const show = () => {
      const file = input.files[0];
      if (!file) return;
      if (shown.src) URL.revokeObjectURL(shown.src);
      shown.src = URL.createObjectURL(file);
      shown.hidden = false;
      const title = document.getElementById("title");
      if (title && !title.value) title.focus();
    };
    input.addEventListener("change", show);
    for (const name of ["dragover", "dragleave", "drop"]) {
      drop.addEventListener(name, (event) => {
        event.preventDefault();
        drop.classList.toggle("over", name === "dragover");
        if (name === "drop" && event.dataTransfer.files.length) {
          input.files = event.dataTransfer.files;
          show();
        }
      });
    }
  }

  // Create: a click on the photo, or Enter at the cross that arrow keys move, says what belongs to the product
  const photo = document.querySelector("[data-points]");
  if (photo) {
    const form = photo.closest("form");
    const image = photo.querySelector("img");
    const layer = photo.querySelector("svg");
    const field = form.querySelector("[name=points]");
    const points = JSON.parse(field.value);
    const draw = () => {
      if (!image.naturalWidth) return;
      layer.setAttribute("viewBox", `0 0 ${image.naturalWidth} ${image.naturalHeight}`);
      layer.replaceChildren();
      for (const kind of ["keep", "drop"]) {
        for (const [x, y] of points[kind]) {
          const dot = document.createElementNS("http://www.w3.org/2000/svg", "circle");
          const size = image.naturalWidth / Math.max(image.clientWidth, 1);
          for (const [name, value] of Object.entries({ cx: x, cy: y, r: 7 * size, "stroke-width": 2 * size })) dot.setAttribute(name, value);
          dot.setAttribute("class", kind === "keep" ? "keep" : "drop-point");
          layer.append(dot);
        }
      }
      field.value = JSON.stringify(points);
      const count = points.keep.length + points.drop.length;
      form.querySelector("[data-count]").textContent = `${points.keep.length} to keep, ${points.drop.length} to drop`;
      form.querySelector("[data-send]").disabled = count === 0;
      form.querySelector("[data-undo]").disabled = count === 0;
    };
    const add = (x, y) => {
      const kind = form.querySelector("[name=kind]:checked").value;
      points[kind].push([x, y]);
      (points.order ||= []).push(kind);
      draw();
    };
    image.addEventListener("click", (event) => {
      const box = image.getBoundingClientRect();
      const across = (event.clientX - box.left - image.clientLeft) / image.clientWidth;
      const down = (event.clientY - box.top - image.clientTop) / image.clientHeight;
      if (across < 0 || down < 0 || across >= 1 || down >= 1) return;
      add(Math.floor(across * image.naturalWidth), Math.floor(down * image.naturalHeight));
    });
    form.querySelector("[data-add]").addEventListener("click", () => {
      const part = (name) => Math.min(Math.max(Number(form.querySelector(`[name=${name}]`).value), 0), 99.99) / 100;
      add(Math.floor(part("across") * image.naturalWidth), Math.floor(part("down") * image.naturalHeight));
    });
    form.querySelector("[data-undo]").addEventListener("click", () => {
      const kind = points.order?.pop() || (points.drop.length ? "drop" : "keep");
      points[kind].pop();
      draw();
    });
    if (image.complete) draw();
    image.addEventListener("load", draw);
  }
})();
