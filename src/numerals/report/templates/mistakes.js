// Sorts and filters the mistakes; without it all of them are there, the surest first.
const list = document.querySelector("#all-mistakes");
if (list) {
  const cards = [...list.children];
  const [order, truth, answer] = ["order", "truth", "answer"].map((id) => document.getElementById(id));
  const number = (card, key) => Number(card.dataset[key]);
  const orders = {
    surest: (a, b) => number(b, "confidence") - number(a, "confidence"),
    doubtful: (a, b) => number(a, "confidence") - number(b, "confidence"),
    unlikely: (a, b) => number(a, "share") - number(b, "share"),
    truth: (a, b) => number(a, "truth") - number(b, "truth"),
    answer: (a, b) => number(a, "answer") - number(b, "answer"),
    place: (a, b) => number(a, "place") - number(b, "place"),
  };
  const show = () => {
    list.append(...[...cards].sort(orders[order.value]));
    for (const card of cards) {
      card.hidden = [truth, answer].some((chosen) => chosen.value && card.dataset[chosen.id] !== chosen.value);
    }
    const shown = cards.filter((card) => !card.hidden).length;
    document.getElementById("shown").value = `${shown} of ${cards.length} shown`;
  };
  for (const control of [order, truth, answer]) control.addEventListener("change", show);
  document.querySelector(".controls").hidden = false;
  show();
}
