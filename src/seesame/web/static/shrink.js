const LONGEST_SIDE = 1600;

/**
 * A photo that is no larger than any model or page looks at, upright. One that this browser cannot read stays as it
 * is: the server may read it.
 *
 * @param {Blob} file @returns {Promise<Blob>}
 */
export async function shrink(file) {
  const picture = await createImageBitmap(file, { imageOrientation: "from-image" }).catch(() => null);
  const scale = picture && LONGEST_SIDE / Math.max(picture.width, picture.height);
  if (!picture || scale >= 1) return file;
  const canvas = document.createElement("canvas");
  canvas.width = Math.round(picture.width * scale);
  canvas.height = Math.round(picture.height * scale);
  const context = canvas.getContext("2d", { alpha: false });
  context.fillStyle = "#fff"; // behind what is transparent
  context.fillRect(0, 0, canvas.width, canvas.height);
  context.imageSmoothingQuality = "high";
  context.drawImage(picture, 0, 0, canvas.width, canvas.height);
  picture.close();
  return (await new Promise((resolve) => canvas.toBlob(resolve, "image/jpeg", 0.9))) ?? file;
}
