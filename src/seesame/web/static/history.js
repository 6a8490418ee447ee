/**
 * What stands in the address bar and in the history. Photos do not fit into an address, and do not belong there: the
 * history keeps their number, this list keeps them for as long as the page is open, and the server for a while longer.
 *
 * @typedef {{x: number, y: number, width: number, height: number}} Region fractions of the upright photo
 * @typedef {{blob: ?Blob, id: ?string, region: ?Region}} Photo `id`: the server's, by which it need not be sent again
 */
const photos = [];
const visit = performance.timeOrigin; // another load of the page has another list

/** @param {string} address as the server writes it @param {?Photo} photo */
export function remember(address, photo) {
  if (photo && !photos.includes(photo)) photos.push(photo);
  const state = photo && { photo: photo.id, region: photo.region, number: photos.indexOf(photo), visit };
  const same = address === location.pathname + location.search && JSON.stringify(state) === JSON.stringify(history.state);
  if (!same) history.pushState(state, "", address);
}

/** @returns {{fields: URLSearchParams, photo: ?Photo}} what address bar and history say now */
export function recalled() {
  const fields = new URLSearchParams(location.search);
  const { number, visit: since, photo: id, region } = history.state ?? {};
  const known = since === visit ? photos[number] : null;
  if (!known && !id) return { fields, photo: null };
  return { fields, photo: Object.assign(known ?? { blob: null, id }, { region }) };
}
