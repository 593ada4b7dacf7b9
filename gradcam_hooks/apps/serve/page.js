() => {
  // A picture may be dropped anywhere on the page, also where one is shown already.
  const place = () => document.querySelector("#picture-file");
  const put = (file) => {
    const input = place().querySelector("input[type=file]");
    if (!input) return false;
    const held = new DataTransfer();
    held.items.add(file);
    input.files = held.files;
    input.dispatchEvent(new Event("change", { bubbles: true }));
    return true;
  };
  const carries = ({ dataTransfer }) => dataTransfer && [...dataTransfer.types].includes("Files");
  addEventListener("dragover", (event) => carries(event) && event.preventDefault());
  addEventListener(
    "drop",
    (event) => {
      const [file] = event.dataTransfer?.files ?? [];
      if (!file) return;
      event.preventDefault();
      event.stopPropagation();
      if (put(file)) return;
      // The one before it goes first; then there is a place for another.
      const watch = new MutationObserver(() => put(file) && watch.disconnect());
      watch.observe(place(), { childList: true, subtree: true });
      place().querySelector("button[aria-label='Clear']")?.click();
    },
    true,
  );
}
