/** A CSV file goes to the server and comes back with labels. */

import { byId, counted, element } from "./dom.js";
import { Problem, ask } from "./server.js";

export function connectUpload() {
  let address; // of the last labelled file, in the browser's memory
  byId("upload").addEventListener("submit", async (event) => {
    event.preventDefault();
    const [file] = byId("upload-file").files;
    const button = event.target.querySelector("button");
    if (!file || button.ariaDisabled === "true") return;
    button.ariaDisabled = "true";
    say("Reading and labeling …");
    try {
      // Files of texts often have a column named label.
      const query = new URLSearchParams({ model: byId("upload-model").value, prefix: "predicted_" });
      const column = byId("upload-column").value;
      if (column) query.set("text_column", column);
      const response = await ask(`v1/table?${query}`, { body: file, type: "text/csv" });
      const labelled = await response.blob();
      URL.revokeObjectURL(address);
      address = URL.createObjectURL(labelled);
      const name = file.name.replace(/(\.[^.]*)?$/, "_labeled.csv");
      const link = element("a", { href: address, download: name }, name);
      const rows = response.headers.get("X-Rows");
      say(`${rows ? `${counted(Number(rows), "text")} labeled: ` : ""}`, link);
      link.click();
    } catch (error) {
      if (!(error instanceof Problem)) throw error;
      const wait = error.retryAfter ? ` Try again in ${counted(error.retryAfter, "second")}.` : "";
      say(`${error.message}${wait}`);
    } finally {
      button.ariaDisabled = "false";
    }
  });
}

function say(...content) {
  byId("uploaded").replaceChildren(element("p", {}, ...content));
}
