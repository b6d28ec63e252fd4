// An ordinary tus client sends a file to an upload. Arguments: the server's address, the cookie, the second token, the upload, the
// file, and after how many bytes to stop (0: never). The one thing that it must add is a check sum for each piece.

import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";

const { DefaultHttpStack, Upload } = createRequire(join(process.env.FEDNODULE_NODE_MODULES, "x.js"))("tus-js-client");
const [base, cookie, csrf, id, path, stop] = process.argv.slice(2);

/** As the client's own, with a check sum on what is sent. */
class WithSums {
  stack = new DefaultHttpStack({});
  createRequest(method, url) {
    const request = this.stack.createRequest(method, url);
    const send = request.send.bind(request);
    request.send = (body) => {
      if (method === "PATCH") request.setHeader("Upload-Checksum", `sha1 ${createHash("sha1").update(body).digest("base64")}`);
      return send(body);
    };
    return request;
  }
  getName() {
    return "with check sums";
  }
}

const upload = new Upload(readFileSync(path), {
  uploadUrl: `${base}/api/uploads/${id}`,
  chunkSize: 4096,
  httpStack: new WithSums(),
  headers: { Cookie: cookie, Origin: base, "X-CSRF-Token": csrf },
  retryDelays: null,
  onChunkComplete: (_, sent, bytes) => {
    if (Number(stop) && sent >= Number(stop)) {
      console.log(`stopped at ${sent} of ${bytes}`);
      process.exit(0);
    }
  },
  onError: (error) => {
    console.error(String(error));
    process.exit(1);
  },
  onSuccess: () => console.log("done"),
});
upload.start();
