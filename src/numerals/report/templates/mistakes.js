// Sort and filter the mistakes. Without JavaScript all of them are shown, most confident first.
const list = document.querySelector("#all-mistakes");
if (list) {
  const cards = [...list.children];
  const [order, label, prediction] = ["order", "label", "prediction"].map((id) => document.getElementById(id));
  const number = (card, key) => Number(card.dataset[key]);
  const orders = {
    "most-confident": (a, b) => number(b, "confidence") - number(a, "confidence"),
    "least-confident": (a, b) => number(a, "confidence") - number(b, "confidence"),
    "label-probability": (a, b) => number(a, "labelProbability") - number(b, "labelProbability"),
    label: (a, b) => number(a, "label") - number(b, "label"),
    prediction: (a, b) => number(a, "prediction") - number(b, "prediction"),
    index: (a, b) => number(a, "index") - number(b, "index"),
  };
  const update = () => {
    list.append(...[...cards].sort(orders[order.value]));
    for (const card of cards) {
      card.hidden = [label, prediction].some((filter) => filter.value && card.dataset[filter.id] !== filter.value);
    }
    const visible = cards.filter((card) => !card.hidden).length;
    document.getElementById("visible-count").value = `${visible} of ${cards.length} mistakes`;
  };
  for (const control of [order, label, prediction]) control.addEventListener("change", update);
  document.querySelector(".controls").hidden = false;
  update();
}
