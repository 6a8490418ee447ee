const search = document.querySelector("seesame-search");
const view = document.getElementById("product");
const at = (name) => document.getElementById(name);

/* A chosen product opens in the shop's own view instead of its page. */
search.addEventListener("seesame-select", (event) => {
  event.preventDefault();
  const { product, picture } = event.detail;
  at("product-title").textContent = product.title;
  at("product-description").textContent = product.description;
  at("product-price").textContent = product.price === null ? "" : `${product.price} ${product.currency ?? ""}`;
  at("product-picture").hidden = !picture;
  if (picture) at("product-picture").src = picture;
  view.showModal();
});

/* The departments search as well. */
for (const button of document.querySelectorAll("[data-words]")) {
  button.addEventListener("click", () => search.searchText(button.dataset.words));
}

at("buy").addEventListener("click", () => {
  at("count").value = Number(at("count").value) + 1;
  view.close();
});
