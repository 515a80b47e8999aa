// The blind vote: two pictures of one prompt and seed; the names of their rows are shown when it is over.
const ballot = JSON.parse(document.getElementById("ballot")?.textContent ?? "null");

function voting(ballot, box, before) {
  const choices = [];
  let over = false, saved = true;
  const part = (name) => box.querySelector(name);
  const picture = (file) => document.querySelector(`#concept img[data-file="${CSS.escape(file)}"]`);

  function show() {
    const at = choices.length, pair = ballot.pairs[at];
    for (const [name, visible] of [[".asking", !over && pair], [".last", !over && !pair], [".voted", over]])
      part(name).hidden = !visible;
    part("progress").value = at;
    for (const button of box.querySelectorAll("[data-undo]")) button.disabled = at === 0;
    part(".asking [data-end]").disabled = at === 0;
    if (over) return reveal();
    if (!pair) return part(".last p").focus();
    part(".asked").textContent = `${at + 1} of ${ballot.pairs.length}: ${pair.prompt}`;
    for (const side of ["left", "right"]) {
      const [from, to] = [picture(pair[side].file), part(`[data-choice=${side}] img`)];
      to.src = from.src;
      to.className = from.className;
      to.alt = `The picture on the ${side}`;
    }
  }

  function reveal() {
    part(".voted ul").replaceChildren(...choices.map((choice, i) => {
      const pair = ballot.pairs[i], line = document.createElement("li");
      const [left, right] = [pair.left.title, pair.right.title];
      const words = { left: `${left} rather than ${right}`, right: `${right} rather than ${left}` };
      line.textContent = `${words[choice] ?? `${left} or ${right}: could not tell`} (${pair.prompt})`;
      return line;
    }));
    part(".voted h2").focus();
  }

  function choose(choice) {
    if (over || choices.length === ballot.pairs.length) return;
    choices.push(choice);
    saved = false;
    show();
  }

  function undo() {
    if (over || !choices.length) return;
    choices.pop();
    show();
  }

  function end() {
    over = choices.length > 0;
    show();
  }

  function save() {
    const pairs = ballot.pairs.map((pair, i) => (
      { prompt: pair.prompt, seed: pair.seed, left: pair.left.row, right: pair.right.row, choice: choices[i] ?? null }
    ));
    const who = part("input").value.trim(), when = new Date().toISOString();
    const text = JSON.stringify({ votes: 1, study: ballot.study, who, when, before_reading: before, pairs }, null, 1);
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([text + "\n"], { type: "application/json" }));
    link.download = "votes.json";
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 1000);
    saved = true;
    part(".saved").textContent = "votes.json is among your downloads.";
  }

  box.addEventListener("click", (event) => {
    const button = event.target.closest("button");
    if (!button) return;
    const { choice, undo: back, end: done, save: keep } = button.dataset;
    if (choice) choose(choice);
    else if (back !== undefined) undo();
    else if (done !== undefined) end();
    else if (keep !== undefined) save();
  });
  const keys = {
    ArrowLeft: () => choose("left"), ArrowRight: () => choose("right"), ArrowDown: () => choose("cannot tell"),
    ArrowUp: undo, Backspace: undo,
  };
  box.addEventListener("keydown", (event) => {
    if (over || event.repeat || !keys[event.key]) return;
    event.preventDefault();
    keys[event.key]();
  });
  box.addEventListener("close", () => { before &&= over });  // the page can be read from now on
  addEventListener("beforeunload", (event) => saved || event.preventDefault());

  const mine = [...document.querySelectorAll(".shot.yours img")].map((image) => image.cloneNode());
  part(".mine").replaceChildren(...mine);
  return () => {
    show();
    box.showModal();
  };
}

if (ballot) {
  const before = location.hash === "#vote";
  const begin = voting(ballot, document.getElementById("vote"), before);
  document.querySelector(".begin").addEventListener("click", begin);
  if (before) begin();
}
