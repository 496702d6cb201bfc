// Sends the events of standard input as GitHub would, signed with @octokit/webhooks-methods; prints what each
// was answered. Arguments: URL, secret, and the folder of npm's packages.
const fs = require("node:fs");
const path = require("node:path");
const { randomUUID } = require("node:crypto");
const { pathToFileURL } = require("node:url");

async function main(url, secret, packages) {
  // An ES module, which NODE_PATH does not find.
  const folder = path.join(packages, "@octokit/webhooks-methods");
  const { exports } = JSON.parse(fs.readFileSync(path.join(folder, "package.json"), "utf8"));
  const { sign } = await import(pathToFileURL(path.join(folder, exports["."].node.import)));
  for (const { name, body } of JSON.parse(fs.readFileSync(0, "utf8"))) {
    const payload = JSON.stringify(body);
    const headers = {
      "content-type": "application/json",
      "x-github-event": name,
      "x-github-delivery": randomUUID(),
      "x-hub-signature-256": await sign(secret, payload),
    };
    const answer = await fetch(url, { method: "POST", headers, body: payload });
    console.log(JSON.stringify({ status: answer.status, body: await answer.json() }));
  }
}

main(...process.argv.slice(-3));
