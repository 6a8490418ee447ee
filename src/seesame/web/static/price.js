/**
 * Write prices as this browser's language does.
 *
 * @param {ParentNode} root
 */
export function localise(root) {
  for (const data of root.querySelectorAll(".price data")) data.textContent = written(Number(data.value), data.dataset.currency);
}

function written(amount, currency) {
  if (!currency) return amount.toLocaleString();
  try {
    return amount.toLocaleString(undefined, { style: "currency", currency });
  } catch (error) {
    if (!(error instanceof RangeError)) throw error; // not a currency code
    return `${amount.toLocaleString()} ${currency}`;
  }
}
