"use strict";
(() => {
  const body = document.querySelector(".contact tbody"), heads = [...document.querySelectorAll(".contact thead th")];

  /* What is not known goes last, whichever way is up. */
  function compare(a, b, column, sign) {
    const [x, y] = [a, b].map((row) => row.cells[column].dataset.key);
    if (x === "" || y === "") return (x === "") - (y === "");
    const [p, q] = [Number(x), Number(y)];
    return sign * (Number.isNaN(p) || Number.isNaN(q) ? x.localeCompare(y, undefined, { numeric: true }) : p - q);
  }

  heads.forEach((head, column) => {
    const button = head.querySelector("button");
    if (!button) return;
    button.addEventListener("click", () => {
      const rising = head.getAttribute("aria-sort") !== "ascending";
      for (const other of heads) other.removeAttribute("aria-sort");
      head.setAttribute("aria-sort", rising ? "ascending" : "descending");
      body.append(...[...body.rows].sort((a, b) => compare(a, b, column, rising ? 1 : -1)));
    });
  });

  const filter = document.getElementById("filter");
  filter.addEventListener("input", () => {
    const wanted = filter.value.trim().toLowerCase();
    for (const row of body.rows) row.toggleAttribute("hidden", !row.dataset.name.toLowerCase().includes(wanted));
  });
  document.documentElement.dataset.ready = "yes";
})();
