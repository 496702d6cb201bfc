// Sends the events of standard input with the JavaScript SDK of CloudEvents; prints what each request
// was answered. Arguments: URL, key, and binary, structured or batched.
const fs = require("node:fs");
const { CloudEvent, HTTP } = require("cloudevents");

function messages(events, mode) {
  if (mode === "batched") {
    // The SDK reads batches and writes none: the array is made of what it makes of each.
    const body = JSON.stringify(events.map((event) => event.toJSON()));
    return [{ headers: { "content-type": "application/cloudevents-batch+json" }, body }];
  }
  return events.map((event) => (mode === "binary" ? HTTP.binary(event) : HTTP.structured(event)));
}

async function main(url, key, mode) {
  const given = JSON.parse(fs.readFileSync(0, "utf8"));
  const events = given.map(({ attributes, data }) => new CloudEvent({ ...attributes, data }));
  for (const { headers, body } of messages(events, mode)) {
    const answer = await fetch(url, { method: "POST", headers: { ...headers, authorization: `Bearer ${key}` }, body });
    console.log(JSON.stringify({ status: answer.status, body: await answer.json() }));
  }
}

main(...process.argv.slice(-3));
