// Enlarges a picture; arrow keys move to its neighbours in the row (left, right) and in the column (up, down).
const large = document.getElementById("large");
let current = null;

function show(shot) {
  if (!shot) return;
  current = shot;
  const [from, to] = [shot.querySelector("img"), large.querySelector("img")];
  to.src = from.src;
  to.alt = from.alt;
  to.className = from.className;
  large.querySelector("p").textContent = from.alt;
  if (!large.open) large.showModal();
}

const visible = (parent) => [...parent.querySelectorAll(".shot")].filter((shot) => shot.offsetParent);

function beside(shot, by) {
  const row = visible(shot.closest("tr"));
  return row[row.indexOf(shot) + by];
}

function below(shot, by) {
  const [row, table] = [shot.closest("tr"), shot.closest("table")];
  const rows = [...table.querySelectorAll("tr")].filter((line) => visible(line).length);
  const next = rows[rows.indexOf(row) + by];
  if (!next) return undefined;
  const there = visible(next);
  return there[Math.min(visible(row).indexOf(shot), there.length - 1)];
}

document.addEventListener("click", (event) => {
  const shot = event.target.closest(".shot");
  if (shot) show(shot);
  else if (event.target === large) large.close();
});
const moves = { ArrowLeft: [beside, -1], ArrowRight: [beside, 1], ArrowUp: [below, -1], ArrowDown: [below, 1] };

function go(name) {
  const move = moves[name];
  if (move) show(move[0](current, move[1]));
  return Boolean(move);
}

large.addEventListener("keydown", (event) => go(event.key) && event.preventDefault());
large.addEventListener("click", (event) => go(event.target.dataset.move));
large.addEventListener("close", () => current && current.focus());
