/**
 * @param {{price: ?number, currency: ?string}} product
 * @returns {string} the price as this browser's language writes it; empty if there is none
 */
export function price({ price: amount, currency }) {
  if (amount === null || amount === undefined) return "";
  if (!currency) return new Intl.NumberFormat().format(amount);
  try {
    return new Intl.NumberFormat(undefined, { style: "currency", currency }).format(amount);
  } catch (error) {
    if (!(error instanceof RangeError)) throw error; // not a currency code
    return `${new Intl.NumberFormat().format(amount)} ${currency}`;
  }
}
